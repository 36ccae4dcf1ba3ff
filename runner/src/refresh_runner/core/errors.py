"""Why a run can't go on: one value for every cause, with whether another try could help."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from refresh_api.status import Reason

TRANSIENT_SQLSTATES: Final[Mapping[str, str]] = {
    "08": "connection exceptions",
    "25006": "read-only, as a standby is, and a server that another one is to follow",
    "25P03": "idle in a transaction for too long",
    "25P04": "the transaction took too long",
    "40001": "serialization failure",
    "40003": "nobody knows whether the statement completed",
    "40P01": "deadlock",
    # What the failed statement had taken is free again, and others end too; a run that fails for good fails at its last attempt.
    "53000": "insufficient resources",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "a lock was not available in time",
    "57014": "cancelled: a time-out, or somebody",
    "57P01": "shut down by an administrator",
    "57P02": "ended by another session's crash",
    "57P03": "starting up or shutting down",
    "57P05": "idle for too long",
    "72000": "a snapshot that is too old",
}
"""SQLSTATEs, and classes of them, whose cause can be gone at the next try.

Left out on purpose: 57P04 (the database was dropped), 53400 (a configured limit), 28 and 3D (who and where we are), 42 and 22 (SQL
and data), XX (PostgreSQL itself is broken).
"""

READ_ONLY: Final = "25006"
NO_SCHEMA: Final = "3F000"
"""SQLSTATE of a statement that names no schema where the search path has none."""
CONNECTION_LOST: Final = "08006"
"""SQLSTATE that stands for a lost or refused connection where the driver has none."""


def is_retryable(sqlstate: str | None) -> bool:
    """Return whether an error of PostgreSQL can be gone at the next try; unknown ones are taken to stay."""
    return sqlstate is not None and sqlstate.startswith(tuple(TRANSIENT_SQLSTATES))


def reason_of(sqlstate: str | None, default: Reason) -> Reason:
    """Return what an error of PostgreSQL says of a run where no step is to blame; `default` if it speaks of a statement."""
    if sqlstate is None or sqlstate == READ_ONLY or sqlstate[:2] in ("08", "28", "3D", "53", "57", "58"):
        return Reason.WAREHOUSE_UNREACHABLE
    return Reason.PRIVILEGE_MISSING if sqlstate in ("42501", NO_SCHEMA) else default


TRANSIENT_HINT: Final = "look at the warehouse: the error is one that can pass"
LINT_HINT: Final = "refresh-runner lint FILE shows the same without a database"
"""Hint of a failure that the dbt project or what a refresh says of it has."""


@dataclass(frozen=True)
class Failure:
    """What ended an attempt."""

    reason: Reason
    message: str
    retryable: bool = False
    """Whether another attempt could succeed."""
    hint: str = ""
    """What to do next, for people."""
    skips_run: bool = False
    """The run yields to another one: skipped, not failed."""


class RunFailedError(Exception):
    """An attempt can't go on; carries the failure."""

    def __init__(self, failure: Failure, step: str | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.step = step
        """Name of the step it belongs to, where that is not the one under way."""
