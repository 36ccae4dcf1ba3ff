"""Refreshes run the image and the project that they name only where the operator allows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from refresh_api.project import Git, Project, SourceKind, SourceRef
from refresh_api.spec import RefreshSpec
from refresh_operator.code_policy import NO_CODE, CodeRules
from refresh_operator.denial import Denial
from refresh_operator.reconcile.decision import Decision, decide
from support.snapshots import NOW, SETTINGS, build_refresh, build_snapshot, condition_of

OWN = "registry.example.org/team/velos:3"
RULES = CodeRules(("registry.example.org/team/*", "*@sha256:*"))


@pytest.mark.parametrize("image", [None, OWN, "registry.example.org/team/deep/er:1", "anywhere/x@sha256:" + "a" * 64])
def test_an_image_that_a_pattern_matches_is_allowed(image: str | None) -> None:
    """Without an image, the chart's runs."""
    assert RULES.image_denial(image) is None


@pytest.mark.parametrize("image", ["registry.example.org/other/x:1", "evil/registry.example.org/team/x", "x:sha256"])
def test_another_image_is_denied_with_the_patterns(image: str) -> None:
    """A pattern is for the whole image."""
    denial = RULES.image_denial(image)
    assert denial
    assert denial.message == (
        f"image {image} (spec.image) is not allowed by runner.allowedImages of the operator's chart:"
        " allowed are registry.example.org/team/*, *@sha256:*"
    )


def test_no_image_is_allowed_by_default() -> None:
    """An operator that knows nothing of images runs the chart's."""
    denial = NO_CODE.image_denial(OWN)
    assert denial
    assert denial.message.endswith("of the operator's chart: it allows none")


def denied(rules: CodeRules, url: str | None) -> Denial | None:
    """Return why a project from this address is denied. The operator compares any text with its patterns."""
    return rules.project_denial(Project(git=Git.model_construct(url=url)) if url else None)


URLS = CodeRules(urls=("https://git.example.org/data/*", "ssh://git@git.example.org:22/velos-?.git", "https://*.example.com/x/*"))


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://git.example.org/data/velos.git",
        "https://git.example.org/data/deep/er",
        "ssh://git@git.example.org:22/velos-1.git",
        "https://a.example.com/x/y",
        "https://a.b.example.com/x/y",
    ],
)
def test_a_project_whose_address_a_pattern_matches_is_allowed(url: str | None) -> None:
    """Without one, the project is that of the image."""
    assert denied(URLS, url) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.org/other/velos.git",
        "https://git.example.org/data",
        "https://git.example.org.evil.example/data/velos",
        "https://git.example.org:8443/data/velos",
        "https://GIT.example.org/data/velos",
        "https://evil.example/git.example.org/data/velos",
        "ssh://git.example.org/data/velos",
        "ssh://root@git.example.org:22/velos-1.git",
        "ssh://git@git.example.org:22/velos-12.git",
        "https://evil.example/a.example.com/x/y",
        "https://evil.example/.example.com/x/y",
    ],
)
def test_another_address_is_denied_with_the_patterns(url: str) -> None:
    """A pattern is for the whole address. In the host a wildcard ends at a slash, so that the path of another host does not match."""
    denial = denied(URLS, url)
    assert denial
    assert (denial.ready, denial.suspended) == ("ProjectNotAllowed", "ProjectNotAllowed")
    assert denial.message == (
        f"{url} (spec.project.git.url) is not allowed by projects.allowedUrls of the operator's chart:"
        " allowed are https://git.example.org/data/*, ssh://git@git.example.org:22/velos-?.git, https://*.example.com/x/*"
    )


@pytest.mark.parametrize("pattern", ["*", "https://*", "https://git.example.org*", "*/*"])
def test_a_pattern_without_a_path_allows_nothing(pattern: str) -> None:
    """The chart refuses these; `https://git.example.org*` would otherwise allow git.example.org.evil.example."""
    assert denied(CodeRules(urls=(pattern,)), "https://git.example.org/data/velos.git")


def test_brackets_of_an_address_are_no_wildcards() -> None:
    """Of an IPv6 address; a class of letters would allow other hosts."""
    rules = CodeRules(urls=("https://[2001:db8::1]/*",))
    assert denied(rules, "https://[2001:db8::1]/velos") is None
    assert denied(rules, "https://d/velos")


def test_no_project_is_allowed_by_default() -> None:
    """An operator that knows nothing of projects fetches none."""
    denial = denied(NO_CODE, "https://git.example.org/data/velos.git")
    assert denial
    assert denial.message.endswith("of the operator's chart: it allows none")


def test_an_image_is_denied_before_a_project() -> None:
    """One reason at a time; the project is not fetched either."""
    refresh = build_refresh(image=OWN, project={"git": {"url": "https://git.example.org/data/velos.git"}})
    assert isinstance(refresh.spec, RefreshSpec)
    for rules, reason in ((NO_CODE, "ImageNotAllowed"), (RULES, "ProjectNotAllowed"), (URLS, "ImageNotAllowed")):
        denial = rules.denial(refresh.spec)
        assert denial
        assert denial.ready == reason
    assert CodeRules(images=RULES.images, urls=URLS.urls).denial(refresh.spec) is None


def image_of(decision: Decision) -> tuple[Any, Any]:
    """Return the image of the CronJob that is to be created, and whether it is suspended."""
    (cronjob,) = [item for item in decision.create if item["kind"] == "CronJob"]
    spec: Any = cronjob["spec"]
    return spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"], spec["suspend"]


def test_a_refresh_runs_its_own_image() -> None:
    """The control: one without runs the chart's."""
    settings = replace(SETTINGS, code_rules=RULES)
    own = decide(build_snapshot(build_refresh(image=OWN), objects={}), settings, NOW)
    assert image_of(own) == (OWN, False)
    assert image_of(decide(build_snapshot(build_refresh(), objects={}), settings, NOW)) == (SETTINGS.runner_image, False)


def test_a_refresh_with_a_denied_image_is_stalled_and_starts_nothing() -> None:
    """Its CronJob is suspended, and does not have that image, so that nobody starts it by hand."""
    refresh = build_refresh(image=OWN)
    denial = NO_CODE.image_denial(OWN)
    decision = decide(replace(build_snapshot(refresh, objects={}), denial=denial), SETTINGS, NOW)
    assert image_of(decision) == (SETTINGS.runner_image, True)
    assert decision.status is not None
    assert denial
    assert condition_of(decision.status, "Ready") == ("False", "ImageNotAllowed", denial.message)
    assert condition_of(decision.status, "Stalled")[0] == "True"
    assert condition_of(decision.status, "Suspended")[:2] == ("True", "ImageNotAllowed")


def of_source(kind: SourceKind, name: str) -> Project:
    return Project(source_ref=SourceRef(kind=kind, name=name))


def test_a_source_is_allowed_by_its_kind_and_name() -> None:
    """None by default. Patterns of addresses do not count for sources, nor the other way round."""
    rules = CodeRules(sources=("GitRepository/velos-*", "Bucket/*"))
    assert rules.project_denial(of_source(SourceKind.GIT_REPOSITORY, "velos-dbt")) is None
    assert rules.project_denial(of_source(SourceKind.BUCKET, "any")) is None
    denial = rules.project_denial(of_source(SourceKind.OCI_REPOSITORY, "velos-dbt"))
    assert denial
    assert denial.message == (
        "OCIRepository/velos-dbt (spec.project.sourceRef) is not allowed by projects.allowedSources of the operator's chart:"
        " allowed are GitRepository/velos-*, Bucket/*"
    )
    assert NO_CODE.project_denial(of_source(SourceKind.GIT_REPOSITORY, "velos-dbt"))
    assert CodeRules(urls=("https://*/*", "*")).project_denial(of_source(SourceKind.GIT_REPOSITORY, "velos-dbt"))
