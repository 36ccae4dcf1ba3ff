"""Our cron parser compared with the one that Kubernetes vendors (github.com/robfig/cron v3), for random lines, zones and times."""

import os
import random
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from cluster.embedded.binaries import Program, build
from cluster.paths import paths_of
from refresh_api import cron

THEIRS = Program("cron", Path(__file__).with_name("cron"), ".", "seconds")
ZONES = ("Etc/UTC", "Europe/Paris", "America/New_York", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Kolkata")
ODD_ZONES = ("Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Asia/Beirut")
"""Time zones whose clocks change by half an hour, or at midnight."""
SHIFTS = tuple(
    datetime.fromisoformat(f"{text}+00:00")
    for text in (
        *("2026-03-29T00:10", "2026-10-24T23:05", "2026-10-25T00:40", "2026-11-01T04:30", "2026-03-08T05:30", "2026-04-04T14:40"),
        *("2026-09-06T03:00", "2026-04-23T21:00", "2026-10-29T20:20", "2026-10-03T15:10", "2026-03-28T21:30", "2026-02-15T01:30"),
    )
)
Question = tuple[str, str, datetime]


def field(rng: random.Random, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """Return a field of a cron line, sometimes an invalid one."""

    def item() -> str:
        kind = rng.random()
        if kind < 0.35:
            text = rng.choice("*?")
        elif kind < 0.75:
            text = rng.choice(names) if names and rng.random() < 0.3 else str(rng.randint(low, high))
        else:
            text = f"{rng.randint(low, high)}-{rng.randint(low, high)}"
        return f"{text}/{rng.randint(0 if rng.random() < 0.05 else 1, 20)}" if rng.random() < 0.25 else text

    return ",".join(item() for _ in range(rng.choice([1, 1, 1, 2, 3])))


def question(rng: random.Random, zones: tuple[str, ...]) -> Question:
    """Return a line, a zone and a time, often just before clocks change."""
    line = " ".join(
        [
            field(rng, 0, 59),
            field(rng, 0, 23) if rng.random() < 0.8 else "1,2,3,0",
            field(rng, 1, 31) if rng.random() < 0.5 else "*",
            field(rng, 1, 12, ("jan", "MAR")) if rng.random() < 0.4 else "*",
            field(rng, 0, 6, ("sun", "Mon")) if rng.random() < 0.4 else "*",
        ]
    )
    anywhen = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randint(0, 3 * 525600))
    return line, rng.choice(zones), rng.choice(SHIFTS) if rng.random() < 0.4 else anywhen


def ours(line: str, zone: str, moment: datetime) -> str:
    """Return our answer in the format of their program."""
    try:
        found = islice(cron.parse(line, zone).after(moment), 4)
        return " ".join(start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for start in found)
    except ValueError as error:
        return "" if "never matches" in str(error) else "error"


def differing(seed: int, count: int, zones: tuple[str, ...]) -> list[tuple[Question, str, str]]:
    """Return the questions with different answers, and both answers."""
    rng = random.Random(seed)
    questions = [question(rng, zones) for _ in range(count)]
    asked = "\n".join(f"{line}\t{zone}\t{moment:%Y-%m-%dT%H:%M:%SZ}" for line, zone, moment in questions)
    program = build(THEIRS, paths_of(os.environ).cache)
    theirs = subprocess.run([program], input=asked, text=True, capture_output=True, check=True, timeout=60).stdout.split("\n")
    answers = [(each, ours(*each), theirs[number]) for number, each in enumerate(questions)]
    assert sum(answer not in ("", "error") for _, answer, _ in answers) > count / 2
    return [each for each in answers if each[1] != each[2]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_our_next_runs_are_those_of_kubernetes(seed):
    """Including nights in which clocks change by an hour after midnight. Both reject invalid lines."""
    assert differing(seed, 1500, ZONES) == []


@pytest.mark.slow
def test_where_clocks_change_by_half_an_hour_or_at_midnight_only_that_day_may_differ():
    """For these zones their parser returns some times an hour off, or omits them, and the CronJob controller follows it."""
    found = differing(3, 1500, ODD_ZONES)
    assert len(found) <= 15
    for (line, zone, moment), our, their in found:
        apart = set(our.split()) ^ set(their.split())
        days = {datetime.fromisoformat(each).date() for each in apart}
        changes = [day for day in days if _changes(zone, day)]
        assert changes, f"{line} {zone} {moment}: {our} / {their}"


def _changes(zone: str, day) -> bool:
    """Return whether clocks in a zone change within a day of this one."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    around = [(noon + timedelta(days=offset)).astimezone(cron.zone_of(zone)).utcoffset() for offset in (-2, 2)]
    return around[0] != around[1]
