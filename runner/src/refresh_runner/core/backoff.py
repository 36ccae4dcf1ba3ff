"""How long a run waits before it tries again."""

from typing import Final

_LONGEST_PAUSE: Final = 30.0


def pause(tries: int, jitter: float) -> float:
    """Return the seconds to wait after so many failed tries: twice as long each time, so that what is overloaded recovers.

    `jitter` is a number around 1, another one each time, so that runs that failed together do not come back together.
    """
    return min(2.0 ** (tries - 1), _LONGEST_PAUSE) * jitter
