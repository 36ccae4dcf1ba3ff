"""The guide matches the code: examples are valid, every word is explained, and commands that are not run name existing options."""

import re
import shlex
from enum import Enum
from functools import reduce

import pytest
import yaml

from reference import CHART, docstrings, fields, pages, rules
from refresh_api.crd import structural
from refresh_api.preview import PreviewReason, PreviewSpec, PreviewState
from refresh_api.preview_report import Difference
from refresh_api.reasons import EventReason, FreshReason, ReadyReason, RunningReason, SuspendedReason
from refresh_api.run_request import ExitCode, Manifest, ModeKind
from refresh_api.spec import RefreshSpec
from refresh_api.status import MissedReason, Phase, Reason, Trigger
from refresh_cli.arguments import parser
from refresh_runner.cli.parser import parser as runner_parser
from support.guide import DOCS, KINDS, ROOT, Block, all_blocks, blocks
from support.guide import pages as written
from support.snapshots import sample_spec

GOOD = {Reason.SUCCEEDED, Reason.NOTHING_CHANGED, Reason.SUCCEEDED_WITH_WARNINGS, Reason.ROLLED_BACK}


def test_every_page_is_in_the_index():
    """Readers find a page only through the index."""
    assert sorted(path.stem for path in DOCS.glob("*.md")) == sorted(written())


@pytest.mark.parametrize("page", written())
def test_every_block_says_what_is_done_with_it(page):
    """A command of unknown kind would be run by no test, and go stale unnoticed."""
    strange = [f"{block}: ```{block.language} {block.kind}" for block in blocks(page) if block.kind not in KINDS.get(block.language, set())]
    assert not strange, "\n".join(strange)


@pytest.mark.parametrize("block", all_blocks("yaml", "spec"), ids=str)
def test_an_example_of_a_spec_is_valid(block):
    """Readers merge it into their spec, here the sample of phase 2."""
    RefreshSpec.model_validate(sample_spec(**yaml.safe_load(block.text)))


@pytest.mark.parametrize("block", all_blocks("yaml", "refresh"), ids=str)
def test_an_example_of_a_refresh_is_valid(block):
    """Readers save and apply it."""
    assert Manifest.model_validate(yaml.safe_load(block.text)).run_request()


FRONT_DOOR = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "dbt_project/README.md")


@pytest.mark.parametrize("block", all_blocks("yaml", "preview"), ids=str)
def test_previews_are_valid(block):
    """As the API server would say."""
    PreviewSpec.model_validate(yaml.safe_load(block.text)["spec"])


@pytest.mark.parametrize("block", all_blocks("yaml", "pipeline"), ids=str)
def test_jobs_of_forges_run_the_plugin(block):
    """No forge is here to run them; what they call is what the plugin understands."""
    (command,) = re.findall(r"kubectl dashboardrefresh (.*?)(?:\||>|$)", block.text.replace("\\\n", " "), re.MULTILINE)
    assert yaml.safe_load(block.text)["preview"]
    assert parser().parse_args(shlex.split(command)).output == "markdown"


VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.mark.parametrize("block", all_blocks("console", "checked"), ids=str)
def test_a_command_that_is_not_run_names_what_there_is(block: Block):
    """Targets of make and of the Dockerfile, values of the chart, and options of our programs are looked up instead."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    stages = set(re.findall(r" AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for command in block.commands:
        match [word for word in shlex.split(command) if not re.match(r"(PG\w+|DOCKER_BUILDKIT)=", word)]:
            case ["make", target, *_]:
                assert target in targets
            case ["docker", "build", "--target", target, "-t", _, "."]:
                assert target in stages
            case ["docker", "build", "-t", _, "--build-arg", argument, folder]:
                assert f"ARG {argument.partition('=')[0]}=" in (ROOT / folder / "Dockerfile").read_text()
            case ["docker", "push", _]:
                pass
            case ["helm", "upgrade", "dashboard-refresh", "deploy/helm", *_, "--set", sets]:
                for name in (each.partition("=")[0] for each in sets.split(",")):
                    assert reduce(lambda values, key: values[key], name.split("."), VALUES) is not None
            case ["kubectl", "dashboardrefresh", *words]:
                assert parser().parse_args(words)
            case ["refresh-runner", *words]:
                assert runner_parser().parse_args(words)
            case ["kubectl", *_]:
                pass  # tests/faults/docs looks its options up with a real kubectl
            case other:
                pytest.fail(f"{block}: no check for the command {other}")


def test_each_docker_build_that_readers_copy_switches_buildkit_on():
    """Docker before 23 fails otherwise, since the Dockerfiles mount secrets. The count guards against a pattern that finds nothing."""
    dockerfiles = [ROOT / "Dockerfile", ROOT / "examples/Dockerfile", ROOT / "examples/velos/Dockerfile"]
    texts = [path.read_text() for path in (ROOT / "README.md", *DOCS.glob("*.md"), *dockerfiles)]
    builds = [found for text in texts for found in re.findall(r"(\S+ )?docker build -", text)]
    assert len(builds) == 7
    assert set(builds) == {"`DOCKER_BUILDKIT=1 ", "DOCKER_BUILDKIT=1 "}


@pytest.mark.parametrize(
    "kind",
    [
        *(Phase, Reason, ReadyReason, RunningReason, SuspendedReason, FreshReason, EventReason, Trigger, MissedReason, ModeKind, ExitCode),
        *(PreviewState, PreviewReason, Difference),
    ],
)
def test_every_word_is_explained(kind: type[Enum]):
    """The reference is generated from the docstrings of enum members."""
    assert [member.value for member in kind if member.name not in docstrings(kind)] == []


def test_every_reason_for_which_a_run_is_not_good_is_in_troubleshooting():
    """Users look up what to do by the reason in the status."""
    text = (DOCS / "troubleshooting.md").read_text()
    assert [reason.value for reason in Reason if reason not in GOOD and f"`{reason.value}`" not in text] == []


def test_every_reason_for_which_a_preview_fails_is_in_the_guide():
    """Users look up what to do by the reason in the status."""
    text = (DOCS / "preview.md").read_text()
    assert [reason.value for reason in PreviewReason if reason is not PreviewReason.COMPARED and f"`{reason.value}`" not in text] == []


def test_every_alert_has_a_runbook():
    """The alert links to the heading with its name."""
    (group,) = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    headings = re.findall(r"^### (\w+)$", (DOCS / "monitoring.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in group["rules"]] == headings


def test_every_permission_has_a_reason():
    """Security reviews read the reasons, which are comments in the chart. The count guards against rules that the pattern misses."""
    for path in (CHART / "templates").glob("*.yaml"):
        text = path.read_text()
        found = list(rules(text))
        assert len(found) == text.count("- apiGroups:"), path.name
        assert [f"{path.name}: {resources}" for _, resources, _, why in found if not why] == []


def test_the_reference_has_every_field():
    """Nested fields are the ones that are easily left out."""
    text = fields("spec", structural(RefreshSpec))
    assert {"`maxNullShare`", "`webhookSecretRef`", "`ephemeral-storage`"} <= set(re.findall(r"`[\w-]+`", text))
    assert all(" |  |\n" not in page for page in pages().values()), "a field without a description"


def test_readme_example_is_valid():
    """It is the first thing that people copy."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert Manifest.model_validate(yaml.safe_load(example)).run_request()


def test_readme_is_short():
    """It says what this is and where to read on; everything else belongs to the guide."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_links_of_the_front_door_lead_somewhere():
    """Files, and headings of the same page; Sphinx checks the links within the guide, and nothing else checks these."""
    for name in FRONT_DOOR:
        text = (ROOT / name).read_text()
        headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" not in target:
                assert (ROOT / name).parent.joinpath(path).exists() if path else anchor in headings, f"{name}: {target}"


def test_the_threat_model_names_tests_that_exist():
    """A line of the threat model is only as good as its test, which may have been renamed or removed."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", (DOCS / "threats.md").read_text())
    assert len(named) > 25
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file() or (test and f"def {test}(" not in (ROOT / path).read_text())
    ]
    assert not missing, "\n".join(missing)
