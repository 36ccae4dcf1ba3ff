"""Refreshes run the image and the project that they name only where the operator allows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from refresh_operator.code_policy import NO_CODE, CodeRules
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
    decision = decide(replace(build_snapshot(refresh, objects={}), denied_code=denial), SETTINGS, NOW)
    assert image_of(decision) == (SETTINGS.runner_image, True)
    assert decision.status is not None
    assert denial
    assert condition_of(decision.status, "Ready") == ("False", "ImageNotAllowed", denial.message)
    assert condition_of(decision.status, "Stalled")[0] == "True"
    assert condition_of(decision.status, "Suspended")[:2] == ("True", "ImageNotAllowed")
