"""The source of time in a run. Tests pass their own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Clock:
    """`now` returns an aware datetime, `elapsed` the seconds since the process started; `sleep` takes seconds."""

    now: Callable[[], datetime]
    elapsed: Callable[[], float]
    sleep: Callable[[float], None]
