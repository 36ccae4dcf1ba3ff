"""Scripts that make calls can be executed."""

import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CALLED = sorted(set(re.findall(r"^\t@?(scripts/\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)))


@pytest.mark.parametrize("script", CALLED)
def test_a_script_that_make_calls_is_executable(script):
    """Git stores the mode, and a file that was created again has lost it."""
    assert os.access(ROOT / script, os.X_OK)


def test_the_scripts_are_found():
    """Otherwise the test above would check nothing."""
    assert {"scripts/test", "scripts/test-faults", "scripts/check"} <= set(CALLED)


def test_workflows_call_targets_of_make():
    """A workflow that calls a renamed target fails only after it was merged."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [path.read_text() for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    called = {word for text in texts for word in re.findall(r"\bmake ([a-z-]+)", text)}
    called |= {word for text in texts for listed in re.findall(r"target: \[(.+)\]", text) for word in listed.split(", ")}
    assert {"check", "test", "test-faults"} <= called <= targets


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_a_job_says_more(workflow):
    """A job that needs to write lists each permission. Texts of others, such as a branch's name, never become part of a script."""
    found = yaml.safe_load(workflow.read_text())
    assert found["permissions"] == {"contents": "read"}
    for job in found["jobs"].values():
        assert job["timeout-minutes"] <= 120
        for script in (step["run"] for step in job["steps"] if "run" in step):
            assert re.sub(r"\$\{\{ matrix\.[a-z]+ \}\}", "", script).count("${{") == 0


def test_only_the_release_of_a_tag_gets_the_signing_key():
    """A pull request could print it."""
    (workflow,) = [path for path in WORKFLOWS if "secrets." in path.read_text()]
    assert yaml.safe_load(workflow.read_text())[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
