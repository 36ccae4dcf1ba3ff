"""Wait for a truth, within bounds, and say what was there instead when it does not come."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotYet(AssertionError):  # noqa: N818 (reads as what it says: not yet)
    """The truth did not come in time."""


def eventually(check: Callable[[], T | None], within: float, context: Callable[[], str] | None = None, every: float = 0.1) -> T:
    """Return what `check` returns once it holds: when it does not raise AssertionError, and what it returns is true (no empty list).

    `within` and `every` are seconds. After `within`, NotYet is raised with the last answer and what `context` tells (describe, logs).
    """
    end = time.monotonic() + within
    while True:
        try:
            answer = check()
            last: object = answer
        except AssertionError as error:
            answer, last = None, error
        if answer:
            return answer
        if time.monotonic() >= end:
            raise NotYet(f"not within {within} s; last: {last}\n{context() if context else ''}") from None
        time.sleep(every)
