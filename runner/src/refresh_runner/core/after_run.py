"""Work after a run has ended, of which its result does not depend: it may neither fail the run nor keep its pod for long."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class NotDoneError(Exception):
    """The work was not done, or only in part; the text says why, and quotes neither a secret nor an answer."""


def do_within(name: str, seconds: float, work: Callable[[], str]) -> bool:
    """Do the work on a thread, and log what it returns, or why it was not done. Return whether it ended, at most a second too late."""

    def do() -> None:
        try:
            _log.info("%s: %s", name, work())
        except NotDoneError as error:
            _log.warning("%s: %s", name, error)
        except Exception as error:
            # its text may quote anything
            _log.warning("%s: internal error: %s", name, type(error).__name__, exc_info=True)

    worker = threading.Thread(target=do, name=name, daemon=True)
    worker.start()
    # Work that calls no server has no deadline of its own.
    worker.join(seconds + 1)
    if worker.is_alive():
        _log.warning("%s: not finished within %.0f s", name, seconds)
    return not worker.is_alive()
