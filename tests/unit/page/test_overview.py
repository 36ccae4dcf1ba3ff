"""What the first page concludes from the refreshes."""

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
def test_without_an_objective_the_last_run_decides(runs, tone, data):
    """A run that gave way says nothing about the data."""
    found = line(build_history("phase2", NOW, runs))
    assert (found.health.tone, found.health.data) == (tone, data)


@pytest.mark.parametrize(("mode", "data"), [("only=cache", Data.STALE), ("select=mart_a", Data.STALE), ("from=marts", Data.FRESH)])
def test_a_run_of_a_part_does_not_make_data_fresh(mode, data):
    """After a failed run, the cache alone was asked for: readers still see what they saw before."""
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
def test_the_last_full_run_and_a_later_one_of_a_part_are_both_told(runs, issues):
    """What a run of one step ended with mends and spoils nothing of the run before; the control: without it, the last run is the last."""
    part, *earlier = build_history("phase2", NOW, runs)
    found = line([{**part, "mode": "only=cache"}, *earlier])
    told = [(each.reason, each.scope, each.mode) for each in found.health.issues if each.scope]
    assert told == issues
    assert found.last_run.run == earlier[0]["id"]
    alone = [(each.reason, each.scope) for each in line(earlier).health.issues if each.scope]
    assert all(scope == "last" for _, scope in alone)


def test_an_objective_is_judged_by_the_clock():
    """Also while nobody writes a status; a failed run within it is something to look at, no more."""
    fresh = {"spec": {"freshness": {"maxStaleness": "4h"}}}
    runs = build_history("phase2", NOW, "FS")
    assert line(runs, **fresh).health.tone is Tone.WARN
    later = line(runs, now=NOW + timedelta(hours=2), **fresh).health
    assert (later.tone, later.data, later.since) == (Tone.BAD, Data.STALE, NOW + timedelta(minutes=48))


def test_a_slot_at_which_nothing_started_is_shown():
    """Whoever should have started it: the control is the time in which it may still come."""
    runs = build_history("phase2", NOW, "S")
    quick = line(runs, nextRun="2026-03-03T11:55:00Z").health
    late = line(runs, nextRun="2026-03-03T11:45:00Z").health
    assert (quick.issues, late.tone) == ((), Tone.WARN)
    assert [each.reason for each in late.issues] == ["Overdue"]


def condition(kind, reason, message="", minutes=5):
    """A condition that holds since some minutes."""
    since = (NOW - timedelta(minutes=minutes)).isoformat()
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}


@pytest.mark.parametrize(
    ("reason", "tone"),
    [("Suspended", Tone.GOOD), ("SuspendedUntil", Tone.GOOD), ("EverythingPaused", Tone.WARN), ("TooManyFailures", Tone.WARN)],
)
def test_a_refresh_that_is_off_says_why(reason, tone):
    """With the operator's words; what nobody asked for on this refresh is to be looked at. The control: a good one that is on."""
    runs = build_history("phase2", NOW, "SS")
    off = line(runs, conditions=[condition("Suspended", reason, "ask the DBA team")])
    assert (off.suspended, off.health.tone, off.health.data) == (True, tone, Data.FRESH)
    assert [(each.reason, each.message) for each in off.health.issues] == [(reason, "ask the DBA team")]
    on = line(runs)
    assert (on.suspended, on.health.issues, on.health.tone) == (False, (), Tone.GOOD)


def test_a_pod_that_does_not_start_is_to_be_looked_at():
    """After half a minute: it may be starting."""
    active = [{"id": "phase2-9", "trigger": "Requested", "startTime": "2026-03-03T11:55:00Z"}]
    message = "run phase2-9: pod has not started: no node has disktype=nvme"
    runs = build_history("phase2", NOW, "S")
    late, early = (
        line(runs, active=active, conditions=[condition("Running", "Starting", message, minutes)]).health for minutes in (5, 0.2)
    )
    assert (late.tone, [each.message for each in late.issues]) == (Tone.WARN, [message])
    assert (early.tone, early.issues) == (Tone.GOOD, ())


def test_what_is_wrong_comes_first():
    """Then what is to be looked at, then by name; each is counted."""
    items = [
        build_refresh(name, NOW, build_history(name, NOW, runs), spec={"title": name})
        for name, runs in (("a", "S"), ("b", "W"), ("c", "F"), ("d", ""))
    ]
    found = overview(*items)
    assert [each.name for each in found.refreshes] == ["c", "b", "d", "a"]
    assert found.counts.model_dump() == {"total": 4, "good": 1, "warn": 1, "bad": 1, "none": 1, "running": 0}
    assert found.tone is Tone.BAD


def test_a_run_under_way_shows_its_step():
    """As soon as its runner has spoken; before, it is starting."""
    active = [{"id": "phase2-9", "trigger": "Requested", "startTime": "2026-03-03T11:59:00Z"}]
    starting = line(active=active).running
    running = line(active=active, run=build_run_status("phase2-9", NOW - timedelta(seconds=20), 2)).running
    assert starting
    assert running
    assert (starting.step, running.step, running.done, running.steps) == (None, "3/6 marts", 2, 6)


def test_a_refresh_that_cannot_be_read_is_shown_all_the_same():
    """With where it went wrong; one that knows more fields than the page is read."""
    odd = build_refresh("odd", NOW)
    odd["status"]["history"] = "nothing like it"
    newer = build_refresh("newer", NOW, build_history("newer", NOW, "S"))
    newer["status"]["fieldOfTomorrow"] = newer["spec"]["fieldOfTomorrow"] = {"a": 1}
    found = {each.name: each.health for each in overview(odd, newer).refreshes}
    assert [each.reason for each in found["odd"].issues] == ["Unreadable"]
    assert found["newer"].tone is Tone.GOOD
