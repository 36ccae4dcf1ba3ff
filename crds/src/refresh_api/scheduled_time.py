"""The scheduled time of a run, from its name, and how late the run may start."""

from datetime import UTC, datetime, timedelta
from typing import Final

STARTING_DEADLINE: Final = timedelta(minutes=5)
"""How late a run may start. Always set, because without it a CronJob stops for good after 100 missed runs."""
_DIGITS: Final = 8
"""The CronJob controller ends a Job's name with the scheduled time in minutes since 1970, which has 8 digits until 2160."""


def scheduled_time_of(run: str) -> datetime | None:
    """Return the scheduled time of a run; None for a requested run."""
    minutes = run.rpartition("-")[2]
    return datetime.fromtimestamp(int(minutes) * 60, UTC) if minutes.isascii() and minutes.isdigit() and len(minutes) == _DIGITS else None
