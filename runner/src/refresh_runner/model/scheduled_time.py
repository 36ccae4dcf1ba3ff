"""The slot that a scheduled run came from, read from its name."""

from datetime import UTC, datetime
from typing import Final

_DIGITS: Final = 8
"""The CronJob controller ends a Job's name in the slot's minute since 1970, which has so many digits until 2160."""


def scheduled_time_of(run: str) -> datetime | None:
    """Return the slot that a run was scheduled for; None for one that somebody asked for."""
    minutes = run.rpartition("-")[2]
    return datetime.fromtimestamp(int(minutes) * 60, UTC) if minutes.isascii() and minutes.isdigit() and len(minutes) == _DIGITS else None
