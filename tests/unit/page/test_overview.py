"""The first page: how the state of a refresh is judged and sorted."""

from datetime import timedelta

import pytest

from refresh_page.kube.models import refresh_of
from refresh_page.views.health import Data, Tone
from refresh_page.views.overview import overview_of
from support.page_refreshes import build_history, build_refresh, build_run_status
from support.snapshots import NOW


def overview(*items, now=NOW):
    return overview_of(map(refresh_of, items), complete=True, unreachable_since=None, now=now)


def line(*args, now=NOW, **changes):
    (found,) = overview(build_refresh("phase2", NOW, *args, **changes), now=now).refreshes
    return found


@pytest.mark.parametrize(
    ("runs", "tone", "data"),
    [
        ("SSS", Tone.GOOD, Data.FRESH),
        ("WSS", Tone.WARN, Data.FRESH),
        ("FSS", Tone.BAD, Data.STALE),
        ("KFS", Tone.BAD, Data.STALE),
        ("KSF", Tone.GOOD, Data.FRESH),
        ("", Tone.NONE, Data.NEVER_LOADED),
        ("F", Tone.BAD, Data.NEVER_LOADED),
    ],
)
def test_without_a_maximum_age_the_last_run_decides(runs, tone, data):
    """A skipped run did not touch the data, so it must not change the verdict."""
    found = line(build_history("phase2", NOW, runs))
    assert (found.health.tone, found.health.data) == (tone, data)


@pytest.mark.parametrize(("mode", "data"), [("only=cache", Data.STALE), ("select=mart_a", Data.STALE), ("from=marts", Data.FRESH)])
def test_a_partial_run_does_not_make_data_fresh(mode, data):
    """A run of the cache step alone after a failed run leaves readers with the old data."""
    part, *earlier = build_history("phase2", NOW, "SFS")
    good = earlier[1] if data is Data.STALE else part
    found = line([{**part, "mode": mode}, *earlier], lastSuccessTime=good["completionTime"])
    assert found.health.data is data


@pytest.mark.parametrize(
    ("runs", "issues"),
    [
        ("WF", [("LayerFailed", "full", None), ("Warnings", "part", "only=cache")]),
        ("SF", [("LayerFailed", "full", None), ("Succeeded", "part", "only=cache")]),
        ("FS", [("LayerFailed", "part", "only=cache")]),
        ("WS", [("Warnings", "part", "only=cache")]),
        ("SS", []),
        ("KWF", [("Warnings", "last", None)]),
    ],
)
def test_the_last_full_run_and_a_later_partial_run_are_both_shown(runs, issues):
    """A partial run neither repairs nor spoils the full run before it. Control: without it, the full run is the last one."""
    part, *earlier = build_history("phase2", NOW, runs)
    found = line([{**part, "mode": "only=cache"}, *earlier])
    shown = [(each.reason, each.scope, each.mode) for each in found.health.issues if each.scope]
    assert shown == issues
    assert found.last_run.run == earlier[0]["id"]
    alone = [(each.reason, each.scope) for each in line(earlier).health.issues if each.scope]
    assert all(scope == "last" for _, scope in alone)


def test_freshness_is_judged_by_the_clock():
    """Data must become stale even if the operator is down and writes no status. A failed run within the limit is only a warning."""
    fresh = {"spec": {"freshness": {"maxStaleness": "4h"}}}
    runs = build_history("phase2", NOW, "FS")
    assert line(runs, **fresh).health.tone is Tone.WARN
    later = line(runs, now=NOW + timedelta(hours=2), **fresh).health
    assert (later.tone, later.data, later.since) == (Tone.BAD, Data.STALE, NOW + timedelta(minutes=48))


def test_a_run_that_is_overdue_is_shown():
    """Nobody else reports it if the operator is down too. Control: within the grace period, nothing is shown."""
    runs = build_history("phase2", NOW, "S")
    quick = line(runs, nextScheduleTime="2026-03-03T11:55:00Z").health
    late = line(runs, nextScheduleTime="2026-03-03T11:45:00Z").health
    assert (quick.issues, late.tone) == ((), Tone.WARN)
    assert [each.reason for each in late.issues] == ["Overdue"]


def condition(kind, reason, message="", minutes=5):
    """Return a condition that has been True for some minutes."""
    since = (NOW - timedelta(minutes=minutes)).isoformat()
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}


@pytest.mark.parametrize(
    ("reason", "tone"),
    [("Suspended", Tone.GOOD), ("SuspendedUntil", Tone.GOOD), ("GloballyPaused", Tone.WARN), ("TooManyFailures", Tone.WARN)],
)
def test_a_suspended_refresh_says_why(reason, tone):
    """A deliberate suspension is no issue; one that nobody asked for is. Control: an active refresh has no issue."""
    runs = build_history("phase2", NOW, "SS")
    suspended = line(runs, conditions=[condition("Suspended", reason, "ask the DBA team")])
    assert (suspended.suspended, suspended.health.tone, suspended.health.data) == (True, tone, Data.FRESH)
    assert [(each.reason, each.message) for each in suspended.health.issues] == [(reason, "ask the DBA team")]
    active = line(runs)
    assert (active.suspended, active.health.issues, active.health.tone) == (False, (), Tone.GOOD)


def test_a_pod_that_does_not_start_is_an_issue_after_30_seconds():
    """Pulling an image takes a while; after that, the message of the scheduler helps."""
    active = [{"id": "phase2-9", "trigger": "Requested", "startTime": "2026-03-03T11:55:00Z"}]
    message = "run phase2-9: pod has not started: no node has disktype=nvme"
    runs = build_history("phase2", NOW, "S")
    late, early = (
        line(runs, active=active, conditions=[condition("Running", "Starting", message, minutes)]).health for minutes in (5, 0.2)
    )
    assert (late.tone, [each.message for each in late.issues]) == (Tone.WARN, [message])
    assert (early.tone, early.issues) == (Tone.GOOD, ())


def test_the_most_urgent_refreshes_come_first():
    """With many refreshes, a failed one must not be on the second page."""
    items = [
        build_refresh(name, NOW, build_history(name, NOW, runs), spec={"displayName": name})
        for name, runs in (("a", "S"), ("b", "W"), ("c", "F"), ("d", ""))
    ]
    found = overview(*items)
    assert [each.name for each in found.refreshes] == ["c", "b", "d", "a"]
    assert found.counts.model_dump() == {"total": 4, "good": 1, "warn": 1, "bad": 1, "none": 1, "running": 0}
    assert found.tone is Tone.BAD


def test_a_run_in_progress_shows_its_step():
    """Before the runner's first report, the step is not known yet."""
    active = [{"id": "phase2-9", "trigger": "Requested", "startTime": "2026-03-03T11:59:00Z"}]
    starting = line(active=active).running
    running = line(active=active, run=build_run_status("phase2-9", NOW - timedelta(seconds=20), 2)).running
    assert starting
    assert running
    assert (starting.step, running.step, running.done, running.steps) == (None, "3/6 marts", 2, 6)


def test_a_refresh_that_cannot_be_parsed_is_shown_with_the_reason():
    """One odd object must not hide the others. Fields that a newer CRD added are ignored."""
    odd = build_refresh("odd", NOW)
    odd["status"]["history"] = "nothing like it"
    newer = build_refresh("newer", NOW, build_history("newer", NOW, "S"))
    newer["status"]["fieldOfTomorrow"] = newer["spec"]["fieldOfTomorrow"] = {"a": 1}
    found = {each.name: each.health for each in overview(odd, newer).refreshes}
    assert [each.reason for each in found["odd"].issues] == ["Unreadable"]
    assert found["newer"].tone is Tone.GOOD
