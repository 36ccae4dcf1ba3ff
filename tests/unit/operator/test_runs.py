"""How runs ended: by their own report, or by what Kubernetes knows of them."""

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


def test_the_runners_report_is_what_counts():
    """Outcome, marts and attempts are its; the times are the API server's."""
    run = concluded(
        build_job("r1", "Complete"), run=build_run_status("r1", outcome="Warned", reason="SucceededWithWarnings", marts="3/4", attempt=2)
    )
    assert (run.outcome, run.reason, run.marts, run.attempts, run.duration) == ("Warned", "SucceededWithWarnings", "3/4", 2, "5m00s")


def test_last_words_stand_in_for_a_lost_report():
    """The status went astray, or another run has overwritten it."""
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
def test_a_run_without_a_report_is_concluded_from_its_pod(status, reason):
    """Each kind of death has its reason, and a message that says what to do."""
    run = concluded(build_job("r1", "Failed"), build_pod("r1", phase="Failed", **status))
    assert (run.outcome, run.reason) == ("Failed", reason)


def test_the_last_attempt_decides():
    """An earlier attempt's pod says nothing of the end."""
    first = build_pod("r1", minutes=-10, phase="Failed", terminated={"exitCode": 137, "reason": "OOMKilled"})
    last = build_pod("r1", minutes=-7, phase="Failed", reason="Evicted")
    run = concluded(build_job("r1", "Failed"), last, first)
    assert (run.reason, run.attempts) == ("Evicted", 2)


def test_a_job_over_its_deadline_says_so():
    """All attempts and pauses together."""
    assert concluded(build_job("r1", "Failed", reason="DeadlineExceeded")).reason == "DeadlineExceeded"


def test_an_unfinished_report_does_not_stand_against_an_ended_job():
    """The runner wrote Running and was killed."""
    lost = build_run_status("r1", phase="Running", outcome=None, reason=None, completionTime=None)
    assert concluded(build_job("r1", "Failed"), run=lost).reason == "RunnerLost"


def test_a_run_is_recorded_once():
    """Seen again, it changes nothing."""
    seen = (build_job("r1", "Failed"),)
    first = status_after(build_snapshot(build_refresh(), seen))
    again = decision_for(build_snapshot(build_refresh(status=first), seen), NOW + timedelta(minutes=1))
    assert again.status is None
    assert first.consecutive_failures == 1


def test_runs_are_told_by_what_started_them():
    """The CronJob, a request, or kubectl create job."""
    jobs = (
        build_job("r1", "Complete", -30),
        build_job("r2", "Complete", -20, token="t"),
        build_job("r3", "Complete", -10, by_kubectl=True),
    )
    history = status_after(build_snapshot(build_refresh(), jobs)).history
    assert [run.trigger for run in history] == ["Manual", "Requested", "Scheduled"]


def test_failures_are_counted_until_a_success():
    """Warnings are successes; the time of the last one is kept."""
    jobs = tuple(build_job(f"r{n}", "Failed", -60 + n) for n in range(3))
    share = status_after(build_snapshot(build_refresh(), jobs))
    assert (share.consecutive_failures, share.last_success_time) == (3, None)
    share = status_after(
        build_snapshot(build_refresh(status=share, run=build_run_status("ok", outcome="Warned")), (*jobs, build_job("ok", "Complete", -10)))
    )
    assert share.consecutive_failures == 0
    assert share.last_success_time is not None


def test_a_skipped_run_leaves_the_last_answer_alone():
    """It is the last run, and neither a success nor a failure."""
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


def test_the_last_answer_survives_a_history_of_skipped_runs():
    """Ten of them in a row must not make it forgotten."""
    share = status_after(build_snapshot(build_refresh(run=build_run_status("ok")), (build_job("ok", "Complete", -600),)))
    for number in range(12):
        name = f"s{number}"
        ended = build_pod(
            name, phase="Succeeded", terminated={"exitCode": 0, "message": words(id=name, outcome="Skipped", reason="LockHeld")}
        )
        share = status_after(build_snapshot(build_refresh(status=share), (build_job(name, "Complete", -100 + number),), (ended,)))
    assert all(run.outcome == "Skipped" for run in share.history)
    assert condition_of(share, "LastRunSucceeded")[:2] == ("True", "Succeeded")


def test_the_last_answer_stays_while_the_next_run_is_under_way():
    """Sticky: Running is a condition of its own."""
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


def test_the_history_is_bounded_and_forgets_no_job_twice():
    """A Job that outlived its entry does not come back as news."""
    jobs = tuple(build_job(f"r{n}", "Complete", -300 + 10 * n) for n in range(12))
    share = status_after(build_snapshot(build_refresh(), jobs))
    assert [run.id for run in share.history] == [f"r{n}" for n in range(11, 1, -1)]
    assert decision_for(build_snapshot(build_refresh(status=share), jobs)).status is None


def test_a_run_whose_job_vanished_was_deleted():
    """It was under way when last looked, and left no report."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", minutes=-1),), (build_pod("r1", phase="Running"),)))
    after = status_after(build_snapshot(build_refresh(status=share)))
    assert (after.history[0].reason, after.active) == ("JobDeleted", [])


def test_a_run_that_reported_before_its_job_vanished_counts_as_reported():
    """The report is better evidence than the deletion."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", minutes=-10),), (build_pod("r1", phase="Running"),)))
    after = status_after(build_snapshot(build_refresh(status=share, run=build_run_status("r1"))))
    assert (after.history[0].outcome, after.history[0].marts) == ("Succeeded", "4/4")


def test_no_end_is_invented_for_a_run_whose_job_may_have_been_cleared_away():
    """The operator was down for long: five newer Jobs have ended, so the CronJob has removed the old one."""
    share = status_after(
        build_snapshot(build_refresh(), (build_job("r1", minutes=-100),), (build_pod("r1", minutes=-100, phase="Running"),))
    )
    newer = tuple(build_job(f"n{n}", "Complete", -50 + n) for n in range(5))
    after = status_after(build_snapshot(build_refresh(status=share), newer))
    assert "r1" not in [run.id for run in after.history]
    assert after.active == []


def test_a_pod_that_does_not_start_is_given_up_in_time():
    """Recorded first, then deleted; the reason is the pod's."""
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
def test_each_way_of_not_starting_has_its_reason(pods, reason):
    """So that people know where to look."""
    decision = decision_for(build_snapshot(build_refresh(startTimeout="5m"), (build_job("r1", minutes=-6),), pods))
    assert decision.status.history[0].reason == reason


def test_a_pod_within_its_start_timeout_is_waited_for():
    """The look is planned for the moment when it is over, and the status says what it waits for."""
    bad = build_pod("r1", minutes=-1, waiting={"reason": "ErrImagePull", "message": "no such image"})
    decision = decision_for(build_snapshot(build_refresh(startTimeout="5m", schedule="0 0 1 1 *"), (build_job("r1", minutes=-1),), (bad,)))
    assert decision.delete_jobs == ()
    assert decision.requeue_after == timedelta(minutes=4, seconds=1)
    assert condition_of(decision.status, "Running")[1:] == (
        "Starting",
        "run r1: pod has not started: ErrImagePull: no such image",
    )


@pytest.mark.parametrize("pods", [(), (build_pod("r1", minutes=-0.1, waiting={"reason": "ContainerCreating"}),)])
def test_a_pod_that_has_not_started_at_once_is_no_news(pods):
    """Every run begins so. Ten seconds later it is told; what is known against it at once."""
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


def test_a_running_pod_is_never_given_up():
    """However long it runs: deadlines are for that."""
    assert (
        decision_for(
            build_snapshot(build_refresh(), (build_job("r1", minutes=-600),), (build_pod("r1", minutes=-600, phase="Running"),))
        ).delete_jobs
        == ()
    )


def test_attempts_show_on_the_running_run():
    """A failure that another attempt follows is no result yet."""
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
def test_people_are_told_by_the_operator_only_where_the_runner_could_not(seen, told):
    """A failed run without a report; not of others, not without channels, not days later."""
    assert len(decision_for(seen).notifications) == told


def test_last_words_tell_that_people_were_told():
    """The runner sent the messages and died before its status arrived."""
    ended = build_pod(
        "r1", phase="Failed", terminated={"exitCode": 1, "message": words(outcome="Failed", reason="LayerFailed", notified=True)}
    )
    assert decision_for(build_snapshot(build_refresh(), (build_job("r1", "Failed"),), (ended,))).notifications == ()


def test_a_failed_run_is_explained_in_one_line():
    """With the command to look further."""
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
def test_a_failed_run_says_what_to_do(reason, attempts, says):
    """No command leads to a log that was never written, or to the first pod of several."""
    last = concluded(build_job("r1", "Failed"), run=build_run_status("r1", outcome="Failed", reason="LayerFailed"))
    last = last.model_copy(update={"reason": Reason(reason), "attempts": attempts})
    seen = build_refresh(OperatorStatus(last_run=last, history=[last]))
    assert status_after(build_snapshot(seen)).message.endswith(says)


def test_clocks_apart_give_no_negative_duration():
    """The report's times are the node's and are not mixed with the API server's."""
    run = concluded(
        build_job("r1", "Complete"), run=build_run_status("r1", startTime="2026-03-03T13:00:00Z", completionTime="2026-03-03T11:00:00Z")
    )
    assert run.duration == "5m00s"


def test_an_empty_share_is_the_start():
    """Nothing is known of a new refresh."""
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


def test_a_runner_that_shows_no_sign_of_life_is_lost():
    """Though its pod claims to run: recorded with the step, its Job is deleted, people are told."""
    decision = silent(3)
    (run,) = decision.status.history
    assert (run.outcome, run.reason) == ("Failed", "RunnerLost")
    assert "3/6 marts" in run.message
    assert (decision.delete_jobs, [each.run.id for each in decision.notifications]) == (("r1",), ["r1"])


@pytest.mark.parametrize(
    "alive",
    [{"minutes": 2.9}, {"minutes": 60, "pod_name": "an-earlier-attempt"}, {"minutes": 60, "phase": "Retrying"}],
    ids=["within its time", "the next attempt, which has not reported yet", "between two attempts"],
)
def test_a_runner_that_owes_no_sign_of_life_is_left_alone(alive):
    """Silence counts only where a runner said that it runs."""
    assert (silent(**alive).delete_jobs, silent(**alive).status.history) == ((), [])


def test_silence_is_waited_for():
    """Nothing else would tell."""
    assert silent(2.5).requeue_after == timedelta(seconds=31)
