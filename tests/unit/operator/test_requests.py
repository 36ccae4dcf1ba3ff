"""Requests by annotation: run, cancel, mode and variables."""

import json

import pytest

from refresh_api.names import CANCEL, REQUEST_ANNOTATION, RUN_MODE, RUN_VARS
from refresh_api.status import OperatorStatus
from refresh_operator.names import requested_job_name
from support.snapshots import UID, build_job, build_pod, build_refresh, build_snapshot, decision_for, minutes_from_now, status_after

JOB = requested_job_name("phase2", UID, "one")


def share(**fields) -> OperatorStatus:
    return OperatorStatus.model_validate({"observedGeneration": 1, "missedRunsEvaluatedUntil": minutes_from_now(0), **fields})


def active(name: str) -> dict:
    return {"id": name, "trigger": "Requested", "startTime": minutes_from_now(-10)}


@pytest.mark.parametrize("mode", ["full-refresh", "from=marts", "only=tests", "rollback", "select=tag:a mart_b"])
def test_the_mode_of_a_request_is_in_run_request_and_job(mode):
    """The pod reads it from the run request, the history from the Job."""
    start = decision_for(build_snapshot(build_refresh(share(), token="one", annotations={RUN_MODE: mode}))).create_job
    environment = start["spec"]["template"]["spec"]["containers"][0]["env"]
    run_request = json.loads(next(each["value"] for each in environment if each["name"] == "REFRESH_RUN_REQUEST"))
    assert run_request["mode"] == mode
    assert start["metadata"]["annotations"][RUN_MODE] == mode


def test_scheduled_runs_ignore_the_mode_annotation():
    """The annotation belongs to the request that it was written with."""
    with_mode = build_refresh(share(), annotations={RUN_MODE: "full-refresh"})
    assert decision_for(build_snapshot(with_mode)).replace == ()


@pytest.mark.parametrize(
    ("mode", "says"),
    [("fast", "is not a run mode: write one of"), ("from=mart", "no step is named 'mart'; the steps are staging, facts, marts")],
)
def test_an_invalid_mode_is_rejected_with_a_message(mode, says):
    """The request counts as handled, so that it is not retried forever."""
    seen = build_snapshot(build_refresh(share(), token="one", annotations={RUN_MODE: mode}))
    decision = decision_for(seen)
    assert decision.create_job is None
    assert decision.status.last_handled_request_at == "one"
    assert says in decision.status.request_error
    assert says in decision.status.message
    assert [note.reason for note in decision.events if note.warning] == ["RequestRefused"]
    again = decision_for(build_snapshot(build_refresh(decision.status, token="one", annotations={RUN_MODE: mode})))
    assert (again.create_job, again.events) == (None, ())


def test_the_next_valid_request_clears_the_error():
    """An old error would be mistaken for one of the new request."""
    before = share(lastHandledRequestAt="zero", requestError="no such step")
    after = status_after(
        build_snapshot(build_refresh(before, token="one"), (build_job(JOB, token="one"),), (build_pod(JOB, phase="Running"),))
    )
    assert (after.last_handled_request_at, after.request_error) == ("one", None)


@pytest.mark.parametrize("wanted", [JOB, "one"], ids=["by its id", "by its request"])
def test_a_cancelled_run_is_recorded_and_its_job_deleted(wanted):
    """Users asked for it: no notification is sent and no failure is counted."""
    seen = build_snapshot(
        build_refresh(share(active=[active(JOB)], lastHandledRequestAt="one"), annotations={CANCEL: wanted}),
        (build_job(JOB, token="one"),),
        (build_pod(JOB, phase="Running"),),
    )
    decision = decision_for(seen)
    run = decision.status.last_run
    assert (run.outcome, run.reason) == ("Failed", "Cancelled")
    assert (decision.delete_jobs, decision.notifications, decision.status.consecutive_failures) == ((JOB,), (), 0)
    assert decision.status.last_handled_cancel == wanted
    assert decision.status.active == []
    assert decision.events[0].reason == "RunCancelled"


def test_cancel_affects_only_the_named_run():
    """A value that names no active run changes nothing, and causes one event."""
    jobs = (build_job("phase2-29541200"), build_job(JOB, token="one"))
    pods = tuple(build_pod(each.metadata.name, phase="Running") for each in jobs)
    first = decision_for(build_snapshot(build_refresh(share(), annotations={CANCEL: JOB}), jobs, pods))
    assert first.delete_jobs == (JOB,)
    other = decision_for(build_snapshot(build_refresh(share(), annotations={CANCEL: "typo"}), jobs, pods))
    assert other.delete_jobs == ()
    assert "NothingToCancel" in [note.reason for note in other.events]
    again = decision_for(build_snapshot(build_refresh(other.status, annotations={CANCEL: "typo"}), jobs, pods))
    assert again.events == ()


def test_a_queued_request_is_withdrawn_by_cancel():
    """It never runs, and the active run continues."""
    busy = build_snapshot(
        build_refresh(share(active=[active("busy")]), token="one", annotations={CANCEL: "one"}),
        (build_job("busy"),),
        (build_pod("busy", phase="Running"),),
    )
    decision = decision_for(busy)
    assert (decision.create_job, decision.delete_jobs) == (None, ())
    assert decision.status.last_handled_request_at == "one"
    assert "withdrawn" in decision.status.request_error
    assert "NothingToCancel" not in [note.reason for note in decision.events]
    later = decision_for(
        build_snapshot(build_refresh(decision.status, token="one", annotations={CANCEL: "one"}), (build_job("busy", "Complete"),))
    )
    assert later.create_job is None


def test_the_history_records_mode_generation_and_image():
    """They are needed to reproduce a run."""
    done = build_job(JOB, "Complete", token="one")
    done = done.model_copy(
        update={
            "metadata": done.metadata.model_copy(
                update={"annotations": {**done.metadata.annotations, RUN_MODE: "only=tests", RUN_VARS: '{"a": 1}'}}
            )
        }
    )
    ran = build_pod(JOB, phase="Succeeded", terminated={"exitCode": 0})
    container = ran.status.container_statuses[0].model_copy(update={"image_id": "registry.example/runner@sha256:ab"})
    ran = ran.model_copy(update={"status": ran.status.model_copy(update={"container_statuses": (container,)})})
    assert REQUEST_ANNOTATION in done.metadata.annotations
    run = status_after(build_snapshot(build_refresh(share(), token="one"), (done,), (ran,))).last_run
    assert (run.mode, run.vars, run.generation, run.image) == ("only=tests", '{"a": 1}', 1, "registry.example/runner@sha256:ab")


def test_the_variables_of_a_request_are_in_run_request_and_job():
    """The pod reads them from the run request, the history from the Job."""
    start = decision_for(
        build_snapshot(build_refresh(share(), token="one", annotations={RUN_VARS: '{"as_of": "2026-01-31", "zone": 5}'}))
    ).create_job
    container = start["spec"]["template"]["spec"]["containers"][0]
    run_request = json.loads(next(each["value"] for each in container["env"] if each["name"] == "REFRESH_RUN_REQUEST"))
    assert run_request["vars"] == {"as_of": "2026-01-31", "zone": 5}
    assert start["metadata"]["annotations"][RUN_VARS] == '{"as_of": "2026-01-31", "zone": 5}'


@pytest.mark.parametrize(
    ("variables", "says"), [("[1]", "runVars: write a JSON object"), ('{"as_of": "soon"}', "runVars: as_of must be a date")]
)
def test_invalid_variables_are_rejected_with_a_message(variables, says):
    """The request counts as handled, so that it is not retried forever."""
    after = decision_for(build_snapshot(build_refresh(share(), token="one", annotations={RUN_VARS: variables})))
    assert after.create_job is None
    assert after.status.last_handled_request_at == "one"
    assert says in after.status.request_error
