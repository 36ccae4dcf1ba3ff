"""Results of runs, from the runner's report or from the state of pods and Job."""

import json
from datetime import timedelta

import pytest

from refresh_api.status import OperatorStatus, Reason
from support.snapshots import (
    NOW,
    build_job,
    build_pod,
    build_refresh,
    build_run_status,
    build_snapshot,
    condition_of,
    decision_for,
    status_after,
)


def words(**changes):
    return json.dumps({"id": "r1", "attempt": 1, "phase": "Finished", **changes})


def concluded(the_job, *pods, **refresh_changes):
    return status_after(build_snapshot(build_refresh(**refresh_changes), (the_job,), tuple(pods))).history[0]


def test_the_runners_report_takes_precedence():
    """Outcome, marts and attempts come from the report, times from the API server."""
    run = concluded(
        build_job("r1", "Complete"), run=build_run_status("r1", outcome="Warned", reason="SucceededWithWarnings", marts="3/4", attempt=2)
    )
    assert (run.outcome, run.reason, run.marts, run.attempts, run.duration) == ("Warned", "SucceededWithWarnings", "3/4", 2, "5m00s")


def test_a_termination_message_replaces_a_lost_report():
    """The status may not have arrived, or another run may have overwritten it."""
    ended = build_pod(
        "r1", phase="Failed", terminated={"exitCode": 1, "message": words(outcome="Failed", reason="TestsFailed", marts="4/4")}
    )
    run = concluded(build_job("r1", "Failed"), ended, run=build_run_status("r2"))
    assert (run.outcome, run.reason, run.marts) == ("Failed", "TestsFailed", "4/4")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "OOMKilled"),
        ({"reason": "Evicted", "message": "low on memory"}, "Evicted"),
        ({"reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        ({"terminated": {"exitCode": 137, "reason": "Error"}}, "RunnerLost"),
        ({"terminated": {"exitCode": 3, "message": "Traceback …"}}, "RunnerLost"),
        ({"terminated": {"exitCode": 75, "message": words(phase="Retrying", reason="WarehouseUnreachable")}}, "WarehouseUnreachable"),
    ],
)
def test_a_run_without_a_report_gets_its_reason_from_the_pod(status, reason):
    """Each kind of failure has its own reason, and a message that says what to do."""
    run = concluded(build_job("r1", "Failed"), build_pod("r1", phase="Failed", **status))
    assert (run.outcome, run.reason) == ("Failed", reason)


def test_the_pod_of_the_last_attempt_decides():
    """Pods of earlier attempts say nothing about the end."""
    first = build_pod("r1", minutes=-10, phase="Failed", terminated={"exitCode": 137, "reason": "OOMKilled"})
    last = build_pod("r1", minutes=-7, phase="Failed", reason="Evicted")
    run = concluded(build_job("r1", "Failed"), last, first)
    assert (run.reason, run.attempts) == ("Evicted", 2)


def test_a_job_over_its_deadline_has_that_reason():
    """The deadline covers all attempts and the delays between them."""
    assert concluded(build_job("r1", "Failed", reason="DeadlineExceeded")).reason == "DeadlineExceeded"


def test_a_finished_job_overrides_an_unfinished_report():
    """A killed runner leaves the phase Running in the status."""
    lost = build_run_status("r1", phase="Running", outcome=None, reason=None, completionTime=None)
    assert concluded(build_job("r1", "Failed"), run=lost).reason == "RunnerLost"


def test_a_finished_run_is_recorded_once():
    """Its Job stays for a while, and must not count again."""
    seen = (build_job("r1", "Failed"),)
    first = status_after(build_snapshot(build_refresh(), seen))
    again = decision_for(build_snapshot(build_refresh(status=first), seen), NOW + timedelta(minutes=1))
    assert again.status is None
    assert first.consecutive_failures == 1


def test_the_trigger_of_a_run_is_recognised():
    """The CronJob, a request, or `kubectl create job --from`."""
    jobs = (
        build_job("r1", "Complete", -30),
        build_job("r2", "Complete", -20, token="t"),
        build_job("r3", "Complete", -10, by_kubectl=True),
    )
    history = status_after(build_snapshot(build_refresh(), jobs)).history
    assert [run.trigger for run in history] == ["Manual", "Requested", "Scheduled"]


def test_consecutive_failures_are_reset_by_a_success():
    """A success with warnings counts as a success."""
    jobs = tuple(build_job(f"r{n}", "Failed", -60 + n) for n in range(3))
    share = status_after(build_snapshot(build_refresh(), jobs))
    assert (share.consecutive_failures, share.last_success_time) == (3, None)
    share = status_after(
        build_snapshot(build_refresh(status=share, run=build_run_status("ok", outcome="Warned")), (*jobs, build_job("ok", "Complete", -10)))
    )
    assert share.consecutive_failures == 0
    assert share.last_success_time is not None


def test_a_skipped_run_keeps_lastrunsucceeded():
    """It is neither a success nor a failure."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", "Failed", -30),)))
    skipped = build_pod(
        "r2", phase="Succeeded", terminated={"exitCode": 0, "message": words(id="r2", outcome="Skipped", reason="LockHeld")}
    )
    after = status_after(
        build_snapshot(build_refresh(status=share), (build_job("r1", "Failed", -30), build_job("r2", "Complete")), (skipped,))
    )
    assert (after.last_run.outcome, after.last_run.reason) == ("Skipped", "LockHeld")
    assert after.consecutive_failures == 1
    assert condition_of(after, "LastRunSucceeded")[:2] == ("False", "RunnerLost")


def test_lastrunsucceeded_survives_a_history_of_skipped_runs():
    """Ten of them in a row must not make the result unknown."""
    share = status_after(build_snapshot(build_refresh(run=build_run_status("ok")), (build_job("ok", "Complete", -600),)))
    for number in range(12):
        name = f"s{number}"
        ended = build_pod(
            name, phase="Succeeded", terminated={"exitCode": 0, "message": words(id=name, outcome="Skipped", reason="LockHeld")}
        )
        share = status_after(build_snapshot(build_refresh(status=share), (build_job(name, "Complete", -100 + number),), (ended,)))
    assert all(run.outcome == "Skipped" for run in share.history)
    assert condition_of(share, "LastRunSucceeded")[:2] == ("True", "Succeeded")


def test_lastrunsucceeded_is_kept_during_the_next_run():
    """The condition Running reports the active run."""
    share = status_after(build_snapshot(build_refresh(run=build_run_status("r1")), (build_job("r1", "Complete", -30),)))
    during = status_after(
        build_snapshot(
            build_refresh(status=share),
            (build_job("r1", "Complete", -30), build_job("r2", minutes=-1)),
            (build_pod("r2", phase="Running"),),
        )
    )
    assert condition_of(during, "LastRunSucceeded")[:2] == ("True", "Succeeded")
    assert condition_of(during, "Running")[:2] == ("True", "Running")
    assert during.phase == "Running"


def test_a_job_older_than_the_full_history_is_not_recorded_again():
    """A Job can exist for longer than its entry in the history."""
    jobs = tuple(build_job(f"r{n}", "Complete", -300 + 10 * n) for n in range(12))
    share = status_after(build_snapshot(build_refresh(), jobs))
    assert [run.id for run in share.history] == [f"r{n}" for n in range(11, 1, -1)]
    assert decision_for(build_snapshot(build_refresh(status=share), jobs)).status is None


def test_a_run_whose_job_disappears_counts_as_deleted():
    """It was active at the last reconciliation and left no report."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", minutes=-1),), (build_pod("r1", phase="Running"),)))
    after = status_after(build_snapshot(build_refresh(status=share)))
    assert (after.history[0].reason, after.active) == ("JobDeleted", [])


def test_a_report_counts_even_if_the_job_disappears():
    """The report is better evidence than the deletion."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", minutes=-10),), (build_pod("r1", phase="Running"),)))
    after = status_after(build_snapshot(build_refresh(status=share, run=build_run_status("r1"))))
    assert (after.history[0].outcome, after.history[0].marts) == ("Succeeded", "4/4")


def test_no_result_is_recorded_for_a_job_beyond_the_history_limit():
    """After a long outage of the operator, the CronJob may have deleted a Job that succeeded."""
    share = status_after(
        build_snapshot(build_refresh(), (build_job("r1", minutes=-100),), (build_pod("r1", minutes=-100, phase="Running"),))
    )
    newer = tuple(build_job(f"n{n}", "Complete", -50 + n) for n in range(5))
    after = status_after(build_snapshot(build_refresh(status=share), newer))
    assert "r1" not in [run.id for run in after.history]
    assert after.active == []


def test_a_pod_that_exceeds_the_start_timeout_fails_its_run():
    """The run is recorded before its Job is deleted, and gets the reason of the pod."""
    bad = build_pod("r1", minutes=-6, waiting={"reason": "ImagePullBackOff", "message": "no such image"})
    decision = decision_for(build_snapshot(build_refresh(startTimeout="5m"), (build_job("r1", minutes=-6),), (bad,)))
    assert decision.delete_jobs == ("r1",)
    run = decision.status.history[0]
    assert (run.outcome, run.reason) == ("Failed", "ImagePullFailed")
    assert "no such image" in run.message
    again = decision_for(build_snapshot(build_refresh(status=decision.status, startTimeout="5m"), (build_job("r1", minutes=-6),), (bad,)))
    assert (again.delete_jobs, again.status) == (("r1",), None)


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((), "StartTimeout"),
        ((build_pod("r1", -6),), "StartTimeout"),
        ((build_pod("r1", -6, waiting={"reason": "CreateContainerConfigError", "message": 'secret "slack" not found'}),), "StartTimeout"),
        (
            (build_pod("r1", -6, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]),),
            "Unschedulable",
        ),
    ],
)
def test_a_pod_that_does_not_start_has_a_specific_reason(pods, reason):
    """Users need to know whether image, resources or something else is wrong."""
    decision = decision_for(build_snapshot(build_refresh(startTimeout="5m"), (build_job("r1", minutes=-6),), pods))
    assert decision.status.history[0].reason == reason


def test_a_pod_within_the_start_timeout_is_left_alone():
    """The refresh is requeued for the end of the timeout, and the status says what the pod waits for."""
    bad = build_pod("r1", minutes=-1, waiting={"reason": "ErrImagePull", "message": "no such image"})
    decision = decision_for(build_snapshot(build_refresh(startTimeout="5m", schedule="0 0 1 1 *"), (build_job("r1", minutes=-1),), (bad,)))
    assert decision.delete_jobs == ()
    assert decision.requeue_after == timedelta(minutes=4, seconds=1)
    assert condition_of(decision.status, "Running")[1:] == (
        "Starting",
        "run r1: pod has not started: ErrImagePull: no such image",
    )


@pytest.mark.parametrize("pods", [(), (build_pod("r1", minutes=-0.1, waiting={"reason": "ContainerCreating"}),)])
def test_a_pod_counts_as_starting_for_ten_seconds(pods):
    """Every run begins with a pending pod. A known error is reported at once."""
    decision = decision_for(build_snapshot(build_refresh(schedule="0 0 1 1 *"), (build_job("r1", minutes=-0.1),), pods))
    assert condition_of(decision.status, "Running")[1:] == ("Starting", "run r1: pod is starting")
    assert decision.requeue_after == timedelta(seconds=5)
    late = decision_for(build_snapshot(build_refresh(schedule="0 0 1 1 *"), (build_job("r1", minutes=-0.2),), ()))
    assert "no pod was created" in condition_of(late.status, "Running")[2]
    bad = build_pod("r1", minutes=-0.1, waiting={"reason": "ErrImagePull", "message": "no such image"})
    assert (
        "no such image"
        in condition_of(decision_for(build_snapshot(build_refresh(), (build_job("r1", minutes=-0.1),), (bad,))).status, "Running")[2]
    )


def test_a_running_pod_never_exceeds_the_start_timeout():
    """Only its deadlines limit how long it runs."""
    assert (
        decision_for(
            build_snapshot(build_refresh(), (build_job("r1", minutes=-600),), (build_pod("r1", minutes=-600, phase="Running"),))
        ).delete_jobs
        == ()
    )


def test_a_failed_attempt_shows_on_the_active_run():
    """A failure with another attempt to follow is not a result."""
    trying = build_run_status(
        "r1", phase="Retrying", outcome=None, reason="WarehouseUnreachable", message="nobody answers", completionTime=None
    )
    share = status_after(build_snapshot(build_refresh(run=trying), (build_job("r1", minutes=-1),), (build_pod("r1", phase="Failed"),)))
    status, reason, message = condition_of(share, "Running")
    assert (status, reason) == ("True", "Retrying")
    assert "attempt 1/3: WarehouseUnreachable: nobody answers" in message
    assert condition_of(share, "LastRunSucceeded")[:2] == ("Unknown", "NoRunYet")


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (build_snapshot(build_refresh(), (build_job("r1", "Failed"),)), 1),
        (build_snapshot(build_refresh(run=build_run_status("r1")), (build_job("r1", "Complete"),)), 0),
        (
            build_snapshot(
                build_refresh(
                    run=build_run_status("r1", outcome="Failed", reason="LayerFailed", notifications=[{"channel": "#a", "sent": True}])
                ),
                (build_job("r1", "Failed"),),
            ),
            0,
        ),
        (build_snapshot(build_refresh(notifications=[]), (build_job("r1", "Failed"),)), 0),
        (build_snapshot(build_refresh(), (build_job("r1", "Failed", minutes=-3000),)), 0),
    ],
)
def test_the_operator_notifies_only_of_failures_that_the_runner_did_not_report(seen, told):
    """Two notifications, or one days later, would be noise."""
    assert len(decision_for(seen).notifications) == told


def test_a_termination_message_can_record_sent_notifications():
    """The runner may send them and be killed before its status arrives."""
    ended = build_pod(
        "r1", phase="Failed", terminated={"exitCode": 1, "message": words(outcome="Failed", reason="LayerFailed", notified=True)}
    )
    assert decision_for(build_snapshot(build_refresh(), (build_job("r1", "Failed"),), (ended,))).notifications == ()


def test_the_message_explains_a_failed_run_in_one_line():
    """It includes a command that shows more."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", "Failed"),)))
    assert share.message.startswith("the last run failed (RunnerLost): ")
    assert share.message.endswith("kubectl logs -n default job/r1")
    assert "\n" not in share.message


@pytest.mark.parametrize(
    ("reason", "attempts", "says"),
    [
        (
            "Unschedulable",
            1,
            "; check spec.resources and spec.podTemplate; see: kubectl describe dr -n default phase2",
        ),
        ("ImagePullFailed", 1, "; see: kubectl describe dr -n default phase2"),
        ("LayerFailed", 3, "; see: kubectl logs -n default -l job-name=r1 --prefix --tail=-1"),
        (
            "WarehouseUnreachable",
            1,
            "; check that PostgreSQL is running and that Secret warehouse is correct; see: kubectl logs -n default job/r1",
        ),
    ],
)
def test_the_message_of_a_failed_run_has_a_hint_and_a_command(reason, attempts, says):
    """A command must not lead to a log that does not exist, or to the first pod of several."""
    last = concluded(build_job("r1", "Failed"), run=build_run_status("r1", outcome="Failed", reason="LayerFailed"))
    last = last.model_copy(update={"reason": Reason(reason), "attempts": attempts})
    seen = build_refresh(OperatorStatus(last_run=last, history=[last]))
    assert status_after(build_snapshot(seen)).message.endswith(says)


def test_different_clocks_cause_no_negative_duration():
    """Times of the report come from the node's clock, and are not mixed with the API server's."""
    run = concluded(
        build_job("r1", "Complete"), run=build_run_status("r1", startTime="2026-03-03T13:00:00Z", completionTime="2026-03-03T11:00:00Z")
    )
    assert run.duration == "5m00s"


def test_an_empty_status_is_accepted():
    """A new refresh has no status."""
    share = status_after(build_snapshot(build_refresh(status=OperatorStatus())))
    assert condition_of(share, "LastRunSucceeded")[:2] == ("Unknown", "NoRunYet")
    assert (share.history, share.last_run, share.consecutive_failures) == ([], None, 0)


def silent(minutes: float, pod_name: str = "r1-0-10", phase: str = "Running"):
    told = build_run_status("r1", phase=phase, outcome=None, reason=None, completionTime=None, pod=pod_name, step="3/6 marts")
    seen = build_snapshot(
        build_refresh(run=told, notifications=NOTIFIED),
        (build_job("r1"),),
        (build_pod("r1", phase="Running"),),
        heartbeat_age=timedelta(minutes=minutes),
    )
    return decision_for(seen)


NOTIFIED = [{"email": {"to": ["a@b.c"], "smtpSecretRef": {"name": "smtp"}}}]


def test_a_run_without_heartbeats_fails():
    """Its pod is still Running, so nothing else would notice. The message names the step."""
    decision = silent(3)
    (run,) = decision.status.history
    assert (run.outcome, run.reason) == ("Failed", "RunnerLost")
    assert "3/6 marts" in run.message
    assert (decision.delete_jobs, [notice.about for notice in decision.notifications]) == (("r1",), [run])


@pytest.mark.parametrize(
    "alive",
    [{"minutes": 2.9}, {"minutes": 60, "pod_name": "an-earlier-attempt"}, {"minutes": 60, "phase": "Retrying"}],
    ids=["within its time", "the next attempt, which has not reported yet", "between two attempts"],
)
def test_a_runner_that_has_not_reported_needs_no_heartbeat(alive):
    """Heartbeats start with the first report."""
    assert (silent(**alive).delete_jobs, silent(**alive).status.history) == ((), [])


def test_the_refresh_is_requeued_for_the_heartbeat_timeout():
    """No watch reports a missing heartbeat."""
    assert silent(2.5).requeue_after == timedelta(seconds=31)
