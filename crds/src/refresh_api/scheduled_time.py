"""The scheduled time of a run, from its name."""

from datetime import UTC, datetime
from typing import Final

_DIGITS: Final = 8
"""The CronJob controller ends a Job's name with the scheduled time in minutes since 1970, which has 8 digits until 2160."""


def scheduled_time_of(run: str) -> datetime | None:
    """Return the scheduled time of a run; None for a requested run."""
    minutes = run.rpartition("-")[2]
    return datetime.fromtimestamp(int(minutes) * 60, UTC) if minutes.isascii() and minutes.isdigit() and len(minutes) == _DIGITS else None
