"""The plugin's text output."""

from datetime import UTC, datetime

import pytest

from refresh_cli.arguments import parser
from refresh_cli.complete import proposals
from refresh_cli.kubectl import Kubectl, RefreshView
from refresh_cli.show import history_text, status_text
from support.snapshots import NOW, build_run_status, minutes_from_now, sample_spec


def seen(**status) -> RefreshView:
    return RefreshView.model_validate({"metadata": {"name": "phase2", "namespace": "ns"}, "spec": sample_spec(), "status": status})


RUN = {
    "id": "phase2-1",
    "trigger": "Requested",
    "outcome": "Failed",
    "reason": "LayerFailed",
    "message": "no such column",
    "completionTime": minutes_from_now(-10),
    "duration": "3m20s",
    "marts": "0/4",
    "mode": "from=marts",
    "revision": "main@sha1:" + "6e27e9a9" * 5,
}


def test_the_status_shows_phase_message_last_run_and_steps():
    """It is the first command after an alert, so it must name the failed step and why."""
    steps = [{"name": "staging", "state": "Succeeded", "duration": "4s"}, {"name": "facts", "state": "Failed", "message": "no such column"}]
    text = status_text(
        seen(phase="Scheduled", message="the last run failed", lastRun=RUN, run=build_run_status("phase2-1", steps=steps)), NOW
    )
    assert text.splitlines()[:2] == ["phase2: Scheduled", "  the last run failed"]
    said = "last run: phase2-1: Failed (LayerFailed), 10m00s ago, took 3m20s, marts 0/4, revision main@6e27e9a9: no such column"
    assert said in text
    assert "✓  1/2 staging  4s" in text
    assert "✗  2/2 facts  no such column" in text


def test_a_refresh_without_a_status_says_so():
    """The operator has not reconciled it yet, or is not running."""
    assert status_text(seen(), datetime.now(UTC)) == "phase2: not reconciled yet"


def test_the_history_is_a_table():
    """Columns match those of `kubectl get`, so that scripts can cut them."""
    head, line = history_text(seen(history=[RUN])).splitlines()
    assert head.split() == ["RUN", "RESULT", "REASON", "MARTS", "ENDED", "DURATION", "TRIGGER", "MODE", "REVISION"]
    assert line.split() == [
        "phase2-1",
        "Failed",
        "LayerFailed",
        "0/4",
        minutes_from_now(-10),
        "3m20s",
        "Requested",
        "from=marts",
        "main@6e27e9a9",
    ]


def test_a_run_of_the_project_in_the_image_has_no_revision():
    """The columns stay where they are."""
    plain = {key: value for key, value in RUN.items() if key != "revision"}
    head, line = history_text(seen(history=[plain])).splitlines()
    assert head.split()[-1] == "REVISION"
    assert line.split()[-1] == "from=marts"
    assert "revision" not in status_text(seen(lastRun=plain), NOW)


@pytest.mark.parametrize(("path", "folder"), [(".", ""), ("warehouse/dbt", ", folder warehouse/dbt")])
def test_the_status_shows_the_project_of_the_current_run(path, folder):
    """With what is noteworthy, such as a tag that was moved."""
    project = {"url": "https://git.example.org/x", "path": path, "revision": "v1@sha1:" + "a" * 40, "message": "tag v1 was moved"}
    lines = status_text(seen(run=build_run_status("phase2-1", project=project)), NOW).splitlines()
    assert lines[-2:] == [f"  project v1@aaaaaaaa of https://git.example.org/x{folder}", "  tag v1 was moved"]


@pytest.mark.parametrize(
    ("words", "found"), [(["ru"], ["run"]), (["run", "phase2", "--mode", "f"], ["full-refresh", "from="]), (["lint", "x"], [])]
)
def test_completion_proposes_commands_and_modes(words, found):
    """Names of refreshes come from the cluster, and files for lint from the shell."""
    assert [each.partition("\t")[0] for each in proposals(words, Kubectl())[0]] == found


def test_every_command_has_help_and_accepts_the_options_of_kubectl():
    """`-n` after the command is where people type it."""
    assert "rollback" in parser().format_help()
    assert parser().parse_args(["run", "phase2", "-n", "ns", "--wait"]).namespace == "ns"
