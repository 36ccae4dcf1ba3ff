"""Work after a run has ended, of which its result does not depend: it may neither fail the run nor keep its pod for long."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from refresh_notify.calls import CallError

_log = logging.getLogger(__name__)


class NotDoneError(Exception):
    """The work was not done, or only in part; the text says why, and quotes neither a secret nor an answer."""


@dataclass(frozen=True)
class Work:
    """Something to do after a run."""

    name: str
    seconds: float
    """How long it may take. Work that calls no server has no deadline of its own, so it is waited for a second longer."""
    do: Callable[[], str]
    """Does it, and returns what was done. NotDoneError if it was not."""
    give_up: Callable[[], None] = lambda: None
    """Called if it takes longer."""


@contextmanager
def calls_to(server: str, progress: Callable[[], str] = str) -> Iterator[None]:
    """Raise NotDoneError for calls without a response. `server` is how its text calls the server; `progress` ends it with what was done."""
    try:
        yield
    except TimeoutError:
        raise NotDoneError(f"no answer in time{progress()}") from None
    except CallError as error:
        raise NotDoneError(f"{server} cannot be reached: {error}{progress()}") from None


def do_all(works: Iterable[Work]) -> None:
    """Do all work at the same time, each on a thread, and log what was done, or why it was not."""
    started = [(work, threading.Thread(target=_do, args=[work], name=work.name, daemon=True)) for work in works]
    begun = time.monotonic()
    for _, thread in started:
        thread.start()
    for work, thread in started:
        thread.join(max(begun + work.seconds + 1 - time.monotonic(), 0))
        if thread.is_alive():
            _log.warning("%s: not finished within %.0f s", work.name, work.seconds)
            work.give_up()


def _do(work: Work) -> None:
    try:
        _log.info("%s: %s", work.name, work.do())
    except NotDoneError as error:
        _log.warning("%s: %s", work.name, error)
    except Exception as error:
        # its text may quote anything
        _log.warning("%s: internal error: %s", work.name, type(error).__name__, exc_info=True)
