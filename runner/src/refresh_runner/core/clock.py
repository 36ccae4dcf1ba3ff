"""Where a run gets the time from; tests pass their own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Clock:
    """Where time comes from: `now` is aware, `elapsed` counts seconds since the process started, `sleep` takes seconds."""

    now: Callable[[], datetime]
    elapsed: Callable[[], float]
    sleep: Callable[[float], None]
