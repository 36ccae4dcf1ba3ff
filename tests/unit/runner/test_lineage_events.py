"""OpenLineage events of runs that ended in different ways; tests/integration/runner has those of real runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refresh_api.status import MartStatus, Outcome, Reason, Run, RunPhase, StepState, StepStatus, Verdict
from refresh_runner.dbt.lineage import BuiltNode
from refresh_runner.lineage.events import DescribedRun
from refresh_runner.postgres.catalog import Relation
from support.openlineage import checked

START = datetime(2026, 6, 30, 2, 30, tzinfo=UTC)
END = START + timedelta(seconds=8.25)
MART = BuiltNode(
    Relation("dwh", "mart"), (Relation("src", "rows"),), START, END, succeeded=True, is_staged=True, rows=7, description="", columns={}
)


def described(outcome: Outcome | None, version: str | None = None, **changes: Any) -> DescribedRun:
    run = Run(
        id="r-1",
        generation=1,
        phase=RunPhase.FINISHED,
        attempt=1,
        attempts=1,
        start_time=START,
        heartbeat_time=END,
        completion_time=END,
        outcome=outcome,
        reason=Reason.SUCCEEDED,
        message="why",
        version=version,
        steps=[StepStatus(name="marts", state=StepState.SUCCEEDED, start_time=START), StepStatus(name="tests", state=StepState.SKIPPED)],
    )
    whole = DescribedRun("ns", "r", run, "postgres://h:5432", "db", ends={"marts": END}, nodes=[MART], published=frozenset({"dwh.mart"}))
    return replace(whole, **changes)


def last(run: DescribedRun) -> dict[str, Any]:
    """The event at the end of the refresh's run, which is the second one; all are valid."""
    events: list[dict[str, Any]] = [checked(each) for each in run.events()]
    assert events[0]["eventType"] == "START"
    assert events[0]["run"]["runId"] == events[1]["run"]["runId"]
    return events[1]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [(Outcome.SUCCEEDED, "COMPLETE"), (Outcome.WARNED, "COMPLETE"), (Outcome.FAILED, "FAIL"), (Outcome.SKIPPED, "ABORT"), (None, "FAIL")],
)
def test_each_outcome_has_its_kind_of_event(outcome, kind):
    """Only a failed run has an error."""
    event = last(described(outcome))
    assert event["eventType"] == kind
    assert ("errorMessage" in event["run"]["facets"]) == (kind == "FAIL")


def test_a_staged_mart_is_an_output_once_it_is_published():
    """With the version and the rows that validation counted. A table that was built in place always is one."""
    assert last(described(Outcome.FAILED))["outputs"] == []
    (built,) = last(described(Outcome.FAILED, nodes=[replace(MART, is_staged=False)]))["outputs"]
    assert "version" not in built["facets"]
    run = described(Outcome.SUCCEEDED, "r-1")
    counted = run.run.model_copy(update={"validation": [MartStatus(relation="dwh.mart", verdict=Verdict.VALID, rows=100)]})
    (live,) = last(replace(run, run=counted))["outputs"]
    assert live["facets"]["version"]["datasetVersion"] == "r-1"
    assert live["outputFacets"]["outputStatistics"]["rowCount"] == 100


def test_a_step_that_did_not_start_has_no_event():
    """Each run of the lineage server would otherwise stay open."""
    names = [checked(each)["job"]["name"] for each in described(Outcome.SUCCEEDED).events()]
    assert names == ["r", "r", "r.marts", "r.marts", "r.dwh.mart", "r.dwh.mart"]


def test_runs_of_the_same_name_at_other_times_are_other_runs():
    """A refresh that was deleted and created again counts from the same names."""
    run = described(Outcome.SUCCEEDED)
    later = replace(run, run=run.run.model_copy(update={"start_time": START + timedelta(hours=1)}))
    ids = [checked(each)["run"]["runId"] for one in (run, later) for each in one.events()]
    assert len(set(ids)) == 6
    assert [checked(each)["run"]["runId"] for each in run.events()] == ids[:6]


def test_texts_of_the_project_are_redacted():
    """Descriptions may quote anything; names are sent as they are."""
    node = replace(MART, is_staged=False, description="geheim", columns={"a": "geheim", "b": "x"})
    run = described(
        Outcome.SUCCEEDED,
        nodes=[node],
        columns={MART.relation: [("a", "integer"), ("b", "text")]},
        redact=lambda text: text.replace("geheim", "***"),
    )
    (built,) = last(run)["outputs"]
    assert [each["description"] for each in built["facets"]["schema"]["fields"]] == ["***", "x"]
    assert built["facets"]["documentation"]["description"] == "***"
