"""The page of a run, from the status and the run log."""

from datetime import timedelta

import pytest

from refresh_page.kube.models import Ref, refresh_of
from refresh_page.runlog.models import NodeRow, RunLogState, RunRow, RunRows, StepRow
from refresh_page.views.run import run_view
from refresh_page.views.run_source import RunSource
from support.page_refreshes import build_history_entry, build_refresh, build_run_status, kube_time
from support.snapshots import NOW

REF = Ref("default", "phase2")
START = NOW - timedelta(seconds=60)


def row(**changes):
    fields = {"run": "phase2-1", "mode": "refresh", "attempt": 1, "attempts": 3, "pod": "phase2-1-0-a", "phase": "Running", "outcome": None}
    fields |= {"reason": None, "message": None, "marts": None, "started_at": START, "heartbeat_at": NOW, "ended_at": None}
    return RunRow(**{**fields, **changes})


def step(name, position, state, at=None, seconds=None):
    return StepRow("phase2-1", name, position, state, 1, at, seconds, None)


def view(refresh=None, rows=None, run="phase2-1", now=NOW):
    return run_view(
        REF, run, refresh_of(refresh) if refresh else None, rows, RunLogState.AVAILABLE if rows else RunLogState.NOT_CONFIGURED, now, {}
    )


def test_without_the_run_log_a_step_ends_where_the_next_one_starts():
    """The status has no end of a step; the running step lasts until now."""
    found = view(build_refresh("phase2", NOW, active=[_active()], run=build_run_status("phase2-1", START, 2))).steps
    assert [(each.step, each.start, each.seconds) for each in found[:3]] == [("staging", 0, 8), ("facts", 8, 8), ("marts", 16, 44)]
    assert [each.state for each in found] == ["Succeeded", "Succeeded", "Running", "Pending", "Pending", "Pending"]


def test_the_run_log_adds_nodes_and_the_status_adds_pending_steps():
    """The run log has no rows for steps that have not started. Nodes are sorted by their start."""
    nodes = [
        NodeRow(f"model.p.{name}", name, "staging", "ok", 4.0, None, None, START + timedelta(seconds=end))
        for name, end in (("b", 9), ("a", 6))
    ]
    rows = RunRows(row(), (step("staging", 1, "Succeeded", START + timedelta(seconds=2), 8.0),), tuple(nodes), medians={"staging": 7.0})
    found = view(build_refresh("phase2", NOW, active=[_active()], run=build_run_status("phase2-1", START, 1)), rows).steps
    assert [(node.node, node.start) for node in found[0].nodes] == [("a", 2.0), ("b", 5.0)]
    assert (found[0].median, found[1].step, found[1].state) == (7.0, "facts", "Running")


def test_the_operators_verdict_wins_over_an_unfinished_row():
    """A runner that was killed leaves its row in the run log as Running."""
    dead = build_history_entry("phase2-1", NOW, "Failed", "OOMKilled", message="the runner took more memory than its limit")
    found = view(build_refresh("phase2", NOW, [dead]), RunRows(row()))
    assert (found.run.outcome, found.run.reason) == ("Failed", "OOMKilled")


def test_a_run_of_a_deleted_refresh_is_shown_from_the_run_log():
    """Links in old notifications keep working."""
    found = view(None, RunRows(row(outcome="Succeeded", phase="Finished", ended_at=NOW, marts="4/4")))
    assert (found.title, found.run.outcome, found.run.seconds, found.length) == ("phase2", "Succeeded", 60.0, 60.0)


def test_nodes_that_failed_are_listed_as_failures():
    """A node that dbt skipped is a consequence, not a cause."""
    states = ("ok", "broken", "failed", "skipped")
    nodes = tuple(NodeRow(f"test.p.{state}", state, "tests", state, 1.0, None, state, NOW) for state in states)
    assert [each.node for each in view(None, RunRows(row(), nodes=nodes)).failures] == ["broken", "failed"]


def test_a_test_that_warns_is_listed_if_it_has_rows_to_show():
    """Warnings without rows are already shown beside their step."""
    states = {"first": "warned", "second": "warned", "third": "failed"}
    nodes = tuple(NodeRow(f"test.p.{name}", name, "tests", state, 1.0, None, None, NOW) for name, state in states.items())
    text = '{"first": [{"id": 1}]}'
    found = run_view(REF, "phase2-1", None, RunRows(row(), nodes=nodes), RunLogState.AVAILABLE, NOW, {"failing_rows.json": text}).failures
    assert [(node.node, node.rows) for node in found] == [("third", ()), ("first", ({"id": 1},))]


def test_a_failed_test_shows_the_rows_that_failed_it():
    """A file with unexpected content must not break the page."""
    nodes = tuple(NodeRow(f"test.p.{name}", name, "tests", "failed", 1.0, None, None, NOW) for name in ("unique_id", "other"))
    rows = RunRows(row(), nodes=nodes)
    text = '{"unique_id": [{"unique_field": 1, "n_records": 2}]}'

    def found(files):
        return [node.rows for node in run_view(REF, "phase2-1", None, rows, RunLogState.AVAILABLE, NOW, files).failures]

    assert found({"failing_rows.json": text}) == [({"unique_field": 1, "n_records": 2},), ()]
    assert found({"failing_rows.json": "[nothing of it"}) == found({"run.log": text}) == [(), ()]


REVISION = "main@sha1:" + "6e27e9a9" * 5
PROJECT = {"url": "https://git.example.org/data/velos", "path": "dbt", "revision": REVISION, "message": "tag v1 was moved"}


@pytest.mark.parametrize(
    ("refresh", "rows"),
    [
        (build_refresh("phase2", NOW, [build_history_entry("phase2-1", NOW, revision=REVISION)]), None),
        (None, RunRows(row(revision=REVISION))),
        (build_refresh("phase2", NOW, run=build_run_status("phase2-1", START, 1, project=PROJECT)), None),
        (build_refresh("phase2", NOW, run=build_run_status("phase2-1", START, 1, project=PROJECT)), RunRows(row())),
    ],
    ids=["history", "run log", "report", "report and an older run log"],
)
def test_a_run_has_the_revision_of_whatever_source_knows_it(refresh, rows):
    """The status has only the last runs, and the run log of an older version has no revisions."""
    found = view(refresh, rows)
    assert found.run.revision == REVISION
    assert RunSource(refresh_of(refresh) if refresh else None).summary("phase2-2", None).revision is None


def test_the_current_run_has_its_repository():
    """With what is noteworthy about the revision."""
    refresh = build_refresh("phase2", NOW, active=[_active()], run=build_run_status("phase2-1", START, 1, project=PROJECT))
    found = view(refresh)
    assert found.project
    assert (found.project.url, found.project.path, found.project.message) == (PROJECT["url"], "dbt", PROJECT["message"])
    assert [each.revision for each in RunSource(refresh_of(refresh)).summaries(None)] == [REVISION]
    assert view(refresh, run="phase2-2").project is None


@pytest.mark.parametrize(("run", "known"), [("phase2-1", True), ("phase2-2", True), ("phase2-3", True), ("phase2-4", False)])
def test_a_run_is_known_from_the_history_the_last_report_or_the_active_runs(run, known):
    """The page responds 404 for any other run."""
    refresh = build_refresh(
        "phase2", NOW, [build_history_entry("phase2-1", NOW)], active=[_active("phase2-2")], run=build_run_status("phase2-3", START, 1)
    )
    assert RunSource(refresh_of(refresh)).has(run) is known


def _active(run="phase2-1"):
    return {"id": run, "trigger": "Scheduled", "startTime": kube_time(START)}
