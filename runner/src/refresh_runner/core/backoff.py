"""Delays before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final


def random_jitter() -> float:
    """Return a random factor around 1, so that what failed together is not retried together."""
    return random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries, guards nothing


@dataclass(frozen=True)
class Backoff:
    """A delay that grows with each failed try, so that an overloaded server can recover."""

    initial: float
    factor: float = 2.0
    longest: float = 30.0

    def delay(self, failures: int, jitter: float | None = None) -> float:
        """Return the seconds to wait after this number of failed tries in a row. `jitter` is a factor around 1, random if None."""
        delay = min(self.initial * self.factor ** (failures - 1), self.longest)
        return delay * (random_jitter() if jitter is None else jitter)


STEP_RETRY: Final = Backoff(1.0)
"""Between tries of a step, and of the connection to the warehouse."""
LOCK_RETRY: Final = Backoff(0.1, factor=1.0)
"""Between tries to lock live tables, for which a short moment without readers is enough."""
STATUS_RETRY: Final = Backoff(1.0, factor=1.0)
"""Between tries to write the status."""
RUN_LOG_RETRY: Final = Backoff(2.0, factor=1.0)
"""Between tries to write the run log."""
