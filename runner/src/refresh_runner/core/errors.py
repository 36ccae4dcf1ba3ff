"""Reasons why a run cannot continue, and whether a retry could help."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from refresh_api.status import Reason

TRANSIENT_SQLSTATES: Final[Mapping[str, str]] = {
    "08": "connection exceptions",
    "25006": "read-only transaction: a standby, or a primary that is being demoted",
    "25P03": "idle in transaction for too long",
    "25P04": "transaction timeout",
    "40001": "serialization failure",
    "40003": "statement completion unknown",
    "40P01": "deadlock",
    # The failed statement has released its resources, and other sessions will release theirs. A permanent shortage fails the last attempt.
    "53000": "insufficient resources",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "lock not available in time",
    "57014": "query canceled, by a timeout or a user",
    "57P01": "shut down by an administrator",
    "57P02": "crash of another session",
    "57P03": "starting up or shutting down",
    "57P05": "idle session timeout",
    "72000": "snapshot too old",
}
"""Transient SQLSTATEs, and classes of them.

Left out on purpose: 57P04 (the database was dropped), 53400 (a configured limit), 28 and 3D (role and database), 42 and 22 (SQL and data),
XX (PostgreSQL itself is broken).
"""
STATEMENT_CLASSES: Final = frozenset({"25", "42", "57"})
"""Classes of SQLSTATEs whose messages are about the statement and never quote rows."""

READ_ONLY: Final = "25006"
NO_SCHEMA: Final = "3F000"
"""A statement names no schema, and the search path contains none."""
LOCK_NOT_AVAILABLE: Final = "55P03"
QUERY_CANCELED: Final = "57014"
INSUFFICIENT_PRIVILEGE: Final = "42501"
INTERNAL_ERROR: Final = "XX000"
"""Represents an error without a SQLSTATE that is not about the connection."""
CONNECTION_LOST: Final = "08006"
"""Represents a lost or refused connection, for which the driver has no SQLSTATE."""

_UNREACHABLE: Final = ("08", READ_ONLY, "28", "3D", "53", "57", "58")
"""Classes for the connection, the role or database, and the server itself."""


def is_retryable(sqlstate: str | None) -> bool:
    """Return whether an error is transient; False for unknown errors."""
    return sqlstate is not None and sqlstate.startswith(tuple(TRANSIENT_SQLSTATES))


def reason_of(sqlstate: str | None, default: Reason) -> Reason:
    """Return the run's reason for a PostgreSQL error outside of any step; `default` if the error is about the statement itself."""
    if sqlstate is None or sqlstate.startswith(_UNREACHABLE):
        return Reason.WAREHOUSE_UNREACHABLE
    return Reason.PRIVILEGE_MISSING if sqlstate in (INSUFFICIENT_PRIVILEGE, NO_SCHEMA) else default


TRANSIENT_HINT: Final = "check the warehouse: this error is transient"
LINT_HINT: Final = "refresh-runner lint FILE shows the same without a database"
"""Hint for an error in the dbt project, or in a refresh's settings for it."""


@dataclass(frozen=True)
class Failure:
    """The reason why an attempt ended."""

    reason: Reason
    message: str
    retryable: bool = False
    """Whether another attempt could succeed."""
    hint: str = ""
    """What the user can do next."""
    skips_run: bool = False
    """Whether the run counts as skipped, not failed, for example because another run holds the warehouse lock."""

    @property
    def text(self) -> str:
        """The message, with the hint in parentheses."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class RunFailedError(Exception):
    """An attempt cannot continue. Contains the failure."""

    def __init__(self, failure: Failure, step: str | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.step = step
        """Name of the step that failed, if it is not the current one."""
