"""Missed runs: scheduled times at which no run started."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refresh_api.model import time_text
from refresh_api.status import OperatorStatus
from support.snapshots import NOW, Json, build_job, build_managed_objects, build_refresh, build_snapshot, decision_for, minutes_from_now

HOURLY: Json = {"schedule": "0 8-12 * * *"}


def share(until: str, generation: int = 1, **fields) -> OperatorStatus:
    return OperatorStatus.model_validate({"observedGeneration": generation, "missedRunsEvaluatedUntil": until, **fields})


def scheduled(slot: datetime, end: str | None = "Complete"):
    return build_job(f"phase2-{int(slot.timestamp()) // 60}", end, minutes=(slot - NOW).total_seconds() / 60)


def missed(seen, now: datetime = NOW):
    """The slots that are recorded as missed, by their events."""
    return [(note.key, note.message.rpartition(": ")[2]) for note in decision_for(seen, now).events if note.reason == "RunMissed"]


def test_a_run_is_missed_once_its_starting_deadline_is_over():
    """Before that it could still start. It is counted once, with its time and reason."""
    seen = build_snapshot(build_refresh(share(minutes_from_now(-30)), **HOURLY))
    early = decision_for(seen, NOW + timedelta(minutes=5))
    assert (early.status.missed_runs, early.requeue_after) == (0, timedelta(seconds=11))
    late = decision_for(seen, NOW + timedelta(minutes=6))
    assert (late.status.missed_runs, late.status.last_missed_reason) == (1, "ControllerDown")
    assert late.status.last_missed_time == NOW
    again = decision_for(build_snapshot(build_refresh(late.status, **HOURLY)), NOW + timedelta(minutes=6))
    assert (again.status, again.events) == (None, ())


def test_a_scheduled_time_with_a_run_is_not_missed():
    """The run is known from its Job or from the history."""
    with_job = build_snapshot(build_refresh(share(minutes_from_now(-30)), **HOURLY), (scheduled(NOW),))
    assert missed(with_job, NOW + timedelta(minutes=6)) == []
    concluded = decision_for(with_job, NOW + timedelta(minutes=6)).status
    assert concluded.history[0].trigger == "Scheduled"
    assert (
        missed(
            build_snapshot(
                build_refresh(concluded.model_copy(update={"missed_runs_evaluated_until": NOW - timedelta(minutes=30)}), **HOURLY)
            ),
            NOW + timedelta(minutes=6),
        )
        == []
    )


def test_missed_runs_of_an_outage_get_one_event_each():
    """Of many, only the newest get an event, but all are counted."""
    seen = build_snapshot(build_refresh(share(minutes_from_now(-200)), **HOURLY))
    assert [key for key, _ in missed(seen, NOW + timedelta(minutes=6))] == [
        minutes_from_now(-180),
        minutes_from_now(-120),
        minutes_from_now(-60),
        minutes_from_now(0),
    ]
    many = build_snapshot(build_refresh(share(minutes_from_now(-600)), schedule="*/5 * * * *"))
    assert len(missed(many)) == 10
    assert decision_for(many).status.missed_runs == 118


def test_a_missed_run_during_a_suspension_has_that_reason():
    """It is missed at once, since it cannot start late."""
    asleep: Json = {"suspend": True, **HOURLY}
    seen = build_snapshot(build_refresh(share(minutes_from_now(-30), suspendedSince=minutes_from_now(-300)), **asleep))
    assert decision_for(seen, NOW + timedelta(seconds=11)).status.last_missed_reason == "Suspended"


def test_a_missed_run_during_a_long_run_has_that_reason():
    """The concurrency policy Forbid allows no second run."""
    under_way = {"id": "long", "trigger": "Scheduled", "startTime": minutes_from_now(-65)}
    seen = build_snapshot(build_refresh(share(minutes_from_now(-30), active=[under_way]), **HOURLY), (build_job("long", minutes=-65),))
    assert decision_for(seen, NOW + timedelta(minutes=6)).status.last_missed_reason == "PreviousStillRunning"


def told(decision) -> list[tuple[str, str]]:
    """Of which scheduled times people are notified, and whether as missed or as started."""
    return [(type(each.about).__name__, time_text(each.about.time)) for each in decision.notifications if each.when == "Missed"]


def later(decision, jobs=(), minutes: float = 60, **changes) -> Any:
    """Return the decision some time after another one, whose status is all that is left of it."""
    return decision_for(build_snapshot(build_refresh(decision.status, **{**HOURLY, **changes}), jobs), NOW + timedelta(minutes=minutes + 6))


def test_people_are_notified_of_the_first_missed_run_and_of_the_next_one_that_starts():
    """Of no further one in between, nor again after a restart: all that is known is the written status."""
    first = decision_for(build_snapshot(build_refresh(share(minutes_from_now(-30)), schedule="0 8-18 * * *")), NOW + timedelta(minutes=6))
    assert told(first) == [("MissedRun", minutes_from_now(0))]
    assert first.status.missed_since == NOW
    all_day: Json = {"schedule": "0 8-18 * * *"}
    again = later(first, minutes=0, **all_day)
    assert again.notifications == ()
    second = later(first, **all_day)
    assert (told(second), second.status.missed_runs, second.status.missed_since) == ([], 2, NOW)
    started = later(second, (scheduled(NOW + timedelta(hours=2)),), 120, **all_day)
    assert told(started) == [("StartedRun", minutes_from_now(120))]
    assert started.status.missed_since is None
    new = later(started, minutes=180, **all_day)
    assert told(new) == [("MissedRun", minutes_from_now(180))]


def test_a_missed_run_that_somebody_has_chosen_notifies_nobody():
    """A suspension, and a time that the clock change skips. The control: the same refresh, not suspended."""
    before = share(minutes_from_now(-30), suspendedSince=minutes_from_now(-300))
    asleep = decision_for(build_snapshot(build_refresh(before, suspend=True, **HOURLY)), NOW + timedelta(minutes=6))
    assert (asleep.status.missed_runs, asleep.notifications, asleep.status.missed_since) == (1, (), None)
    awake = decision_for(build_snapshot(build_refresh(before, **HOURLY)), NOW + timedelta(minutes=6))
    assert told(awake) == [("MissedRun", minutes_from_now(0))]
    night = build_refresh(share("2026-03-29T00:45:00Z"), schedule="30 2 * * *", timeZone="Europe/Paris")
    spring = decision_for(build_snapshot(night), datetime(2026, 3, 29, 1, 40, tzinfo=UTC))
    assert (spring.status.last_missed_reason, told(spring), spring.status.missed_since) == ("ClockChange", [], None)


def test_missed_runs_that_are_over_notify_nobody():
    """After an outage of the operator, a run that has started since says that schedules work. It still ends an earlier notice."""
    jobs = (scheduled(NOW - timedelta(hours=1)),)
    seen = build_snapshot(build_refresh(share(minutes_from_now(-200)), **HOURLY), jobs)
    over = decision_for(seen, NOW - timedelta(minutes=30))
    assert (told(over), over.status.missed_runs, over.status.missed_since) == ([], 2, None)
    since = share(minutes_from_now(-90), missedSince=minutes_from_now(-180))
    assert told(decision_for(build_snapshot(build_refresh(since, **HOURLY), jobs), NOW)) == [("StartedRun", minutes_from_now(-60))]


def test_people_are_notified_of_runs_missed_for_days():
    """The operator may have been down as long as the CronJob controller; nothing has started since."""
    seen = build_snapshot(build_refresh(share(minutes_from_now(-4000)), **HOURLY))
    ((kind, _),) = told(decision_for(seen, NOW + timedelta(minutes=6)))
    assert kind == "MissedRun"


def test_past_times_of_a_new_schedule_are_not_missed():
    """The old schedule counts until the edit, the new one afterwards."""
    before = build_refresh(share(minutes_from_now(-300)), schedule="0 0 1 1 *")
    edited = build_refresh(share(minutes_from_now(-300)), generation=2, **HOURLY)
    decision = decision_for(build_snapshot(edited, objects=build_managed_objects(before)))
    assert (decision.status.missed_runs, decision.status.missed_runs_evaluated_until) == (0, NOW)


def test_an_edit_without_a_recorded_evaluation_counts_nothing():
    """The operator may stop between replacing the CronJob and writing the status."""
    edited = build_refresh(share(minutes_from_now(-300)), generation=2, **HOURLY)
    assert decision_for(build_snapshot(edited), NOW + timedelta(minutes=6)).status.missed_runs == 0


def test_runs_whose_jobs_are_deleted_do_not_count_as_missed():
    """After a long outage of the operator, only the newest Jobs exist."""
    jobs = tuple(scheduled(NOW - timedelta(minutes=5 * count)) for count in range(5))
    objects = build_managed_objects(build_refresh(schedule="*/5 * * * *"))
    objects["CronJob"]["status"] = {"lastScheduleTime": minutes_from_now(0)}
    seen = build_snapshot(build_refresh(share(minutes_from_now(-600)), schedule="*/5 * * * *"), jobs, objects=objects)
    assert decision_for(seen, NOW + timedelta(seconds=30)).status.missed_runs == 0


def test_a_new_refresh_has_no_missed_runs():
    """Evaluation starts when the refresh is first seen."""
    assert decision_for(build_snapshot(build_refresh(**HOURLY))).status.missed_runs_evaluated_until == NOW


@pytest.mark.parametrize(("schedule", "count"), [("30 2 * * *", 1), ("30 * * * *", 0)], ids=["at certain hours", "every hour"])
def test_a_time_skipped_by_the_clock_change_is_missed(schedule, count):
    """Paris has no 02:30 on 29 March 2026. An hourly schedule misses nothing."""
    morning = datetime(2026, 3, 29, 1, 40, tzinfo=UTC)
    until = datetime(2026, 3, 29, 0, 45, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    spec: Json = {"schedule": schedule, "timeZone": "Europe/Paris"}
    decision = decision_for(
        build_snapshot(build_refresh(share(until), **spec), (scheduled(datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),)), morning
    )
    assert [note.key for note in decision.events if note.reason == "RunMissed"] == ["2026-03-29T01:30:00Z"] * count


def test_the_next_three_runs_include_their_utc_offset():
    """It changes with the clocks in between."""
    spec: Json = {"schedule": "30 2 * * *", "timeZone": "Europe/Paris"}
    runs = decision_for(build_snapshot(build_refresh(**spec)), datetime(2026, 3, 27, 12, 0, tzinfo=UTC)).status.next_schedule_times
    assert runs == ["2026-03-28T02:30+01:00", "2026-03-30T02:30+02:00", "2026-03-31T02:30+02:00"]
