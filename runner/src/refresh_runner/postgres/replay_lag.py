"""How far standbys have replayed the data that is live on the primary. Until then, their readers see the previous data version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import psycopg

from refresh_api.values import duration_text
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import RunFailedError
from refresh_runner.postgres.connection import WarehouseConnection, first_line
from refresh_runner.postgres.privileges import quote_identifier
from refresh_runner.postgres.standbys import MONITORING_ROLE, Standby, attached_standbys
from refresh_runner.postgres.standbys import wal_position as current_position

_POLL: Final = 0.2
"""Seconds between two polls."""


@dataclass(frozen=True)
class ReplayLag:
    """What standbys have not yet replayed. False if nothing is known to be missing."""

    text: str = ""
    """Which standbys lag and by how much, or why that is unknown. Empty if none lags."""
    is_known: bool = True
    is_hidden: bool = False
    """Whether a standby is attached whose position the role lacks the privilege to see."""

    def __bool__(self) -> bool:
        """Return whether a standby is known to lag."""
        return bool(self.text) and self.is_known


class ReplayMonitor:
    """Monitors how far standbys have replayed what was live when the monitor was created."""

    def __init__(self, warehouse: WarehouseConnection, clock: Clock, position: str | None) -> None:
        """`position` is the WAL position after publishing; None means the current position, if the run has not published."""
        self._warehouse = warehouse
        self._clock = clock
        self._position = position
        self._began = clock.elapsed()

    def lag(self) -> ReplayLag:
        """Return what the attached standbys have not yet replayed."""
        try:
            connection = self._warehouse.connect()
            self._position = self._position or current_position(connection)
            found = attached_standbys(connection, self._position)
        except (psycopg.Error, RunFailedError) as error:
            # The data is live in any case.
            why = first_line(error) if isinstance(error, psycopg.Error) else error.failure.message
            return ReplayLag(f"cannot query how far standbys have replayed: {why}", is_known=False)
        return lag_of(found, self._clock.elapsed() - self._began, connection.info.user)

    def wait(self, limit: timedelta) -> ReplayLag:
        """Wait until all standbys have replayed it, or for at most `limit`. Return what is still missing."""
        ends = self._clock.elapsed() + limit.total_seconds()
        while (lag := self.lag()) and self._clock.elapsed() + _POLL <= ends:
            self._clock.sleep(_POLL)
        return lag


def lag_of(standbys: Sequence[Standby], seconds: float, role: str) -> ReplayLag:
    """Return the lag of standbys some seconds after a publish. `role` is the role that queried them. Pure."""
    if hidden := [standby for standby in standbys if standby.replay_lag_bytes is None]:
        names = ", ".join(map(str, hidden))
        return ReplayLag(
            f"role {role} cannot see how far {names} has replayed: grant {MONITORING_ROLE} to {quote_identifier(role)}",
            is_known=False,
            is_hidden=True,
        )
    late = ", ".join(f"{standby} has {_size_text(standby.replay_lag_bytes)} to replay" for standby in standbys if standby.replay_lag_bytes)
    return ReplayLag(f"{late} after {duration_text(timedelta(seconds=round(seconds)))}" if late else "")


def _size_text(count: int) -> str:
    """Return a number of bytes with a unit."""
    return next(
        (f"{count / size:.1f} {unit}" for unit, size in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)) if count >= size), f"{count} bytes"
    )
