"""The calendar: coming runs of known schedules, and what happens where two of one warehouse overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

import httpx
import pytest

from refresh_api import cron
from refresh_page.kube.models import Refresh, refresh_of
from refresh_page.kube.store import Store
from refresh_page.runlog.history import RunLogReader
from refresh_page.views import calendar
from refresh_page.views.calendar import MAX_DAILY, SPAN, Calendar, CalendarRow, Overlap, calendar_of
from refresh_page.views.overview_query import OverviewQuery
from refresh_page.web.app import application
from refresh_page.web.handlers import PAGE_SIZE, Handlers
from refresh_page.web.sse import SseStreams
from refresh_page.web.templates import Templates
from support import snapshots
from support.page_refreshes import build_condition, build_history_entry, build_refresh, kube_time
from support.snapshots import NOW

Json = dict[str, Any]
PARIS = "Europe/Paris"
SPRING = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
"""Midnight in Paris; clocks go forward from 02:00 to 03:00 in the night that begins."""
AUTUMN = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
"""Midnight in Paris; clocks go back from 03:00 to 02:00 in the night that begins."""
pages = lru_cache(Templates)


def item(
    name: str, schedule: str = "0 13 * * *", minutes: float = 10, now: datetime = NOW, status: Json | None = None, **spec: Any
) -> Json:
    """Build a refresh whose runs usually take as many minutes; 0 for one that has not run yet."""
    runs = [build_history_entry(f"{name}-1", now - timedelta(hours=1), seconds=round(minutes * 60))] if minutes else []
    spec = {"displayName": name, "schedule": schedule, "timeZone": "Etc/UTC", **spec}
    return build_refresh(name, now, runs, spec=spec, **(status or {}))


def refresh(*args: Any, **changes: Any) -> Refresh:
    return refresh_of(item(*args, **changes))


def rows(*refreshes: Refresh, now: datetime = NOW, address: str = "") -> dict[str, CalendarRow]:
    """Return the rows of a calendar by name."""
    query = OverviewQuery.of(dict(part.split("=") for part in address.split("&") if part))
    shown = calendar_of(refreshes, True, None, now, query)
    return {row.name: row for warehouse in shown.warehouses for row in warehouse.rows}


def clock(row: CalendarRow) -> str:
    return " ".join(f"{run.start:%H:%M}" for run in row.runs)


def overlaps(row: CalendarRow) -> list[tuple[Overlap | None, str | None, float | None]]:
    return [(run.overlap, run.other, run.seconds) for run in row.runs]


@pytest.mark.parametrize(
    ("now", "schedule", "starts"),
    [
        (NOW, "30 2,5,8 * * *", "01:30 04:30 07:30"),
        (NOW, "0 13 * * *", "12:00"),
        (NOW, "0 13 * * sun", ""),
        (SPRING, "30 2 * * *", ""),
        (SPRING, "30 1,3 * * *", "00:30 01:30"),
        (SPRING - timedelta(days=1), "30 2 * * *", "01:30"),
        (AUTUMN, "30 2 * * *", "00:30"),
        (AUTUMN, "30 1,3 * * *", "23:30 02:30"),
        (AUTUMN + timedelta(days=1, hours=1), "30 2 * * *", "01:30"),
    ],
)
def test_a_schedule_runs_when_kubernetes_starts_it(now: datetime, schedule: str, starts: str):
    """In UTC; at noon of a Tuesday the run of 13:00 in Paris is due at once, and is that of tomorrow.

    A time that the clocks skip has no run, and one that they show twice has one.
    """
    assert clock(rows(refresh("a", schedule, timeZone=PARIS), now=now)["a"]) == starts


@pytest.mark.parametrize("now", [NOW, SPRING, AUTUMN])
def test_an_hourly_schedule_has_24_runs_also_when_clocks_change(now: datetime):
    """The day on the clock has 23 or 25 hours then, the calendar has 24."""
    runs = rows(refresh("a", "15 * * * *", timeZone=PARIS), now=now)["a"].runs
    assert [run.start for run in runs] == [now + timedelta(minutes=15 + 60 * number) for number in range(24)]


@pytest.mark.parametrize(
    ("now", "zone", "labels"),
    [
        (NOW, "Etc/UTC", "12:00@0.0 15:00@0.125 18:00@0.25 21:00@0.375 00:00@0.5 03:00@0.625 06:00@0.75 09:00@0.875"),
        (
            SPRING,
            PARIS,
            "00:00@0.0 03:00@0.0833 06:00@0.2083 09:00@0.3333 12:00@0.4583 15:00@0.5833 18:00@0.7083 21:00@0.8333 00:00@0.9583",
        ),
        (AUTUMN, PARIS, "00:00@0.0 03:00@0.1667 06:00@0.2917 09:00@0.4167 12:00@0.5417 15:00@0.6667 18:00@0.7917 21:00@0.9167"),
        (NOW, "Asia/Kathmandu", "18:00@0.0104 21:00@0.1354 00:00@0.2604 03:00@0.3854 06:00@0.5104 09:00@0.6354 12:00@0.7604 15:00@0.8854"),
    ],
)
def test_the_axis_has_the_hours_of_the_clock(now: datetime, zone: str, labels: str):
    """Their distances change with the clocks: otherwise every run after 02:00 would be drawn an hour off."""
    shown = calendar_of([refresh("a", timeZone=zone), refresh("b", timeZone=zone), refresh("c")], True, None, now)
    assert shown.time_zone == zone
    assert " ".join(f"{tick.label}@{tick.share}" for tick in shown.ticks) == labels


@pytest.mark.parametrize("line", ["H * * * *", "H/20 3-5 * * *", "H H * * *"])
def test_an_open_minute_is_the_one_of_the_cronjob(line: str):
    """The operator writes a number in place of `H` into the CronJob; the page must find the same one."""
    cronjob = snapshots.build_managed_objects(snapshots.build_refresh(schedule=line))["CronJob"]["spec"]
    real = cron.parse(cronjob["schedule"], cronjob["timeZone"]).runs_after(NOW)
    shown = rows(refresh_of(build_refresh("phase2", NOW, spec={"schedule": line})))["phase2"]
    assert [run.start for run in shown.runs[:3]] == list(islice(real, 3))[: len(shown.runs)]
    assert shown.runs


WAIT, SKIP, FAIL = ({"policy": policy, "waitTimeout": "6m"} for policy in ("Wait", "Skip", "Fail"))


@pytest.mark.parametrize(
    ("minute", "lock", "expected"),
    [
        (4, WAIT, (Overlap.WAITS, "default/a", 360)),
        (3, WAIT, (Overlap.SKIPPED, "default/a", 420)),
        (9, SKIP, (Overlap.SKIPPED, "default/a", 60)),
        (9, FAIL, (Overlap.FAILS, "default/a", 60)),
        (10, FAIL, (None, None, None)),
        (11, SKIP, (None, None, None)),
    ],
)
def test_a_run_overlaps_one_that_usually_still_holds_the_warehouse(minute: int, lock: Json, expected: tuple[object, ...]):
    """What happens is what its lock says. One that starts when the other usually ends overlaps nothing."""
    shown = rows(refresh("a"), refresh("b", f"{minute} 13 * * *", lock=lock))
    assert overlaps(shown["b"]) == [expected]
    assert overlaps(shown["a"]) == [(None, None, None)]


def test_a_run_that_waits_holds_the_warehouse_later():
    """And one that is skipped does not hold it at all."""
    shown = rows(
        refresh("a"),
        refresh("b", "5 13 * * *", lock=WAIT),
        refresh("c", "6 13 * * *", lock=SKIP),
        refresh("d", "19 13 * * *", lock=WAIT),
        refresh("e", "31 13 * * *", lock=WAIT),
    )
    assert overlaps(shown["b"]) == [(Overlap.WAITS, "default/a", 300)]
    assert overlaps(shown["c"]) == [(Overlap.SKIPPED, "default/b", 840)]
    assert overlaps(shown["d"]) == [(Overlap.WAITS, "default/b", 60)]
    assert overlaps(shown["e"]) == [(None, None, None)]


def test_only_runs_of_one_secret_in_one_namespace_overlap():
    """The lock is one for each database; by the Secret the page knows which refreshes share one. Warehouses with overlaps come first."""
    other = item("c")
    other["metadata"]["namespace"] = "another"
    alone = refresh("b", warehouse={"secretRef": {"name": "a-warehouse"}})
    shown = calendar_of([refresh("a"), alone, refresh_of(other), refresh("d")], True, None, NOW)
    assert [(each.namespace, each.secret, [row.name for row in each.rows]) for each in shown.warehouses] == [
        ("default", "warehouse", ["a", "d"]),
        ("another", "warehouse", ["c"]),
        ("default", "a-warehouse", ["b"]),
    ]
    assert (shown.runs, shown.overlaps) == (4, 1)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (20, [None, None, None]),
        (24, [None, Overlap.WAITS, Overlap.MISSED]),
        (26, [None, Overlap.MISSED, None]),
    ],
)
def test_a_run_overlaps_the_previous_one_of_its_refresh(minutes: float, expected: list[Overlap | None]):
    """Kubernetes starts a run at most five minutes late; later ones are missed."""
    runs = rows(refresh("a", "0,20,40 13 * * *", minutes))["a"].runs
    assert [run.overlap for run in runs] == expected


def test_a_run_in_progress_holds_the_warehouse():
    """For what is left of its usual duration."""
    active = [{"id": "a-2", "trigger": "Requested", "startTime": kube_time(NOW - timedelta(minutes=6))}]
    shown = rows(refresh("a", "0 3 * * *", status={"active": active}), refresh("b", "3 12 * * *"), refresh("c", "15 12 * * *"))
    assert shown["a"].running_since == NOW - timedelta(minutes=6)
    assert overlaps(shown["b"]) == [(Overlap.WAITS, "default/a", 60)]
    assert overlaps(shown["c"]) == [(None, None, None)]


def test_a_suspended_refresh_has_no_runs_until_it_resumes():
    """It is listed all the same, and says so."""
    condition = build_condition("Suspended", "True", "SuspendedUntil", NOW)
    until = {"conditions": [condition], "suspendedUntil": kube_time(NOW + timedelta(hours=2))}
    shown = rows(refresh("a", "0 * * * *", suspend=True), refresh("b", "0 * * * *", status=until), refresh("c", "0 * * * *"))
    assert [(row.suspended, len(row.runs)) for row in (shown["a"], shown["b"], shown["c"])] == [(True, 0), (True, 22), (False, 24)]
    assert (shown["a"].resumes, shown["b"].resumes) == (None, NOW + timedelta(hours=2))


def test_the_usual_duration_is_the_median_of_plain_runs_that_succeeded():
    """A run that failed early, that built one layer only, or that rolled back, says nothing about the next."""
    of = (("Succeeded", 60), ("Warned", 100), ("Succeeded", 80), ("Failed", 5), ("Skipped", 1))
    runs = [build_history_entry(f"a-{number}", NOW, outcome, seconds=took) for number, (outcome, took) in enumerate(of)]
    modes = ("from=marts", "only=tests", "rollback")
    runs += [build_history_entry(f"a-9{number}", NOW, seconds=2, mode=mode) for number, mode in enumerate(modes)]
    found = rows(refresh_of(build_refresh("a", NOW, runs)), refresh("b", minutes=0))
    assert (found["a"].usual_seconds, found["b"].usual_seconds) == (80, None)


def test_the_search_leaves_out_refreshes_and_not_what_they_overlap():
    """A team that looks at its own refreshes still sees that they wait for those of others."""
    every = (refresh("a"), refresh("b", "5 13 * * *"))
    assert overlaps(rows(*every, address="q=b")["b"]) == [(Overlap.WAITS, "default/a", 300)]
    assert list(rows(*every, address="q=b")) == ["b"]
    assert list(rows(*every, address="state=fresh")) == ["a", "b"]
    assert list(rows(*every, address="state=stale")) == []


@pytest.mark.parametrize(
    ("start", "end"), [("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z")]
)
def test_a_wrong_clock_does_not_break_the_calendar(start: str, end: str):
    """A run of 9998 years, or of less than nothing, that still runs."""
    runs = [{**build_history_entry("a-1", NOW), "startTime": start, "completionTime": end}]
    active = [{"id": "a-2", "trigger": "Requested", "startTime": end}]
    wrong = refresh_of(build_refresh("a", NOW, runs, spec={"schedule": "0 * * * *"}, active=active))
    shown = rows(wrong, refresh("b"))
    assert len(shown["a"].runs) == 24
    assert (shown["a"].usual_seconds or 0) >= 0


@pytest.mark.parametrize(
    "spec",
    [
        {"schedule": "61 * * * *"},
        {"schedule": ""},
        {"timeZone": "Mars/Olympus"},
        {"timeZone": "Mars/Olympus", "suspend": True},
        {"schedule": None},
        {"warehouse": 7},
    ],
)
def test_a_spec_that_cannot_be_read_is_listed_without_a_run(spec: Json):
    """A newer version may accept what this one does not; the other refreshes are shown all the same."""
    whole = item("a")
    bad = refresh_of({**whole, "spec": {**whole["spec"], **spec}})
    shown = rows(bad, refresh("b"))
    assert rows(bad).keys() == {"a"}
    assert shown["a"].blocked == ("warehouse" not in spec)
    assert len(shown["b"].runs) == 1


def test_a_thousand_refreshes_are_enumerated_once_a_day():
    """And a schedule of every minute not at all: a page that many people keep open must not compute for long."""
    every = [refresh(f"r{number}", "H * * * *") for number in range(1000)]
    frequent = refresh("m", "* * * * *")
    calendar._starts.cache_clear()
    assert calendar_of(every, True, None, NOW).runs == 24_000
    parsed = calendar._starts.cache_info()
    assert parsed.misses <= 2 * 60
    assert calendar_of([*every, frequent], True, None, NOW + timedelta(minutes=1)).runs == 24_000
    assert calendar._starts.cache_info().misses == parsed.misses
    assert (rows(frequent)["m"].runs_per_day, rows(frequent)["m"].runs) == (1440, ())
    assert len(rows(refresh("q", "*/15 * * * *"))["q"].runs) == MAX_DAILY


async def get(refreshes: list[Json], path: str, **headers: str) -> httpx.Response:
    store = Store(NOW, ("",))
    store.replace("", map(refresh_of, refreshes))
    site = Handlers(store, RunLogReader(None), pages(""), SseStreams(store), lambda: NOW + timedelta(seconds=30))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=application(site)), base_url="http://page") as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_the_page_says_in_words_what_overlaps():
    """A mark of another colour alone would say nothing to many readers. In French, too, and as JSON."""
    refreshes = [
        item("a", "0 14 * * *", timeZone=PARIS),
        item("b", "5 14 * * *", timeZone=PARIS),
        item("c", "2 14 * * *", timeZone=PARIS, lock=FAIL),
        item("d", timeZone=PARIS, suspend=True),
        item("e", "* * * * *"),
        item("f", "0 9 * * *", minutes=0),
    ]
    text = " ".join((await get(refreshes, "/calendar")).text.split())
    for words in (
        "2 coming runs overlap others",
        "1 run waits",
        "2026-03-03 14:05 CET waits for <code>default/a</code>, which usually takes 5 min 00 s more",
        "1 run fails",
        "2026-03-03 14:02 CET fails, since <code>default/a</code> usually takes 8 min 00 s more",
        "</span> Suspended",
        "1,440 runs a day",
        "not known yet",
        "Warehouse of the Secret <code>default/warehouse</code>",
    ):
        assert words in text, words
    french = " ".join((await get(refreshes, "/calendar", accept_language="fr")).text.split())
    assert "2 exécutions à venir en chevauchent d&#39;autres" in french
    assert "1 exécution attend" in french
    shown = Calendar.model_validate((await get(refreshes, "/calendar.json?q=b")).json())
    assert (shown.begin, shown.end - shown.begin) == (NOW, SPAN)
    assert [row.name for row in shown.warehouses[0].rows] == ["b"]


async def test_an_address_with_an_unknown_state_is_refused():
    """As on the first page."""
    assert (await get([], "/calendar?state=old")).status_code == 400
    assert (await get([], "/calendar")).status_code == 200


async def test_the_page_has_a_hundred_refreshes_at_a_time():
    """The next hundred are on the next page, whatever the warehouse."""
    refreshes = [item(f"r{number:03}", warehouse={"secretRef": {"name": f"w{number % 3}"}}) for number in range(PAGE_SIZE + 5)]
    first, second = (await get(refreshes, "/calendar?q=r")).text, (await get(refreshes, "/calendar?q=r&page=2")).text
    assert (first.count('<tr id="r-'), second.count('<tr id="r-')) == (PAGE_SIZE, 5)
    assert 'href="/calendar?q=r&amp;page=2"' in first
