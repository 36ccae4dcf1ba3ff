"""Why a run can't go on: one value for every cause, with whether another try could help."""

from dataclasses import dataclass
from typing import Final

from refresh_api.status import Reason

_PASSING_CLASSES: Final = ("08", "57P0")
_PASSING_CODES: Final = frozenset({"40001", "40P01", "55P03", "57014", "53300"})
"""Serialization, deadlock, lock not available, query cancelled (a time-out), too many connections."""

CONNECTION_LOST: Final = "08006"
"""SQLSTATE that stands for a lost or refused connection where the driver has none."""


def may_pass(sqlstate: str | None) -> bool:
    """Return whether an error of PostgreSQL can be gone at the next try; unknown ones are taken to stay."""
    return sqlstate is not None and (sqlstate in _PASSING_CODES or sqlstate.startswith(_PASSING_CLASSES))


@dataclass(frozen=True)
class Failure:
    """What ended an attempt."""

    reason: Reason
    message: str
    passing: bool = False
    """Whether another attempt could succeed."""
    hint: str = ""
    """What to do next, for people."""
    gives_way: bool = False
    """The run yields to another one: skipped, not failed."""


class RunFailedError(Exception):
    """An attempt can't go on; carries the failure."""

    def __init__(self, failure: Failure, step: str | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.step = step
        """Name of the step it belongs to, where that is not the one under way."""
