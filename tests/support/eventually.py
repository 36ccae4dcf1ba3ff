"""Wait for a condition; on a timeout, the error has the last result."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotYet(AssertionError):  # noqa: N818 (reads as what it says: not yet)
    """The condition did not hold in time."""


def eventually(check: Callable[[], T | None], within: float, context: Callable[[], str] | None = None, every: float = 0.1) -> T:
    """Return the result of `check` once it is true and raises no AssertionError; an empty list is not true.

    `within` and `every` are seconds. After `within`, NotYet is raised with the last result and the text of `context`.
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
