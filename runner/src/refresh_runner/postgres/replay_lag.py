"""How far the standbys have replayed what is live on the primary: readers there see the version before until then."""

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
"""Seconds between two looks while a run waits."""


@dataclass(frozen=True)
class ReplayLag:
    """What standbys have still to replay; false if nothing, or nothing that is known."""

    text: str = ""
    """For people: which standby, and how much; or why that is not known. Empty if all have replayed it."""
    is_known: bool = True
    is_hidden: bool = False
    """A standby is attached, and the role may not see how far it is."""

    def __bool__(self) -> bool:
        """Whether a standby is known to lag."""
        return bool(self.text) and self.is_known


class ReplayMonitor:
    """Follows, from its making on, how the standbys replay what is live by then."""

    def __init__(self, warehouse: WarehouseConnection, clock: Clock, position: str | None) -> None:
        """`position` is the end of what was published; None where the run has published nothing: all that is there now counts."""
        self._warehouse = warehouse
        self._clock = clock
        self._position = position
        self._began = clock.elapsed()

    def lag(self) -> ReplayLag:
        """Return what the attached standbys have still to replay."""
        try:
            connection = self._warehouse.connect()
            self._position = self._position or current_position(connection)
            found = attached_standbys(connection, self._position)
        except (psycopg.Error, RunFailedError) as error:
            # The data are live all the same.
            why = first_line(error) if isinstance(error, psycopg.Error) else error.failure.message
            return ReplayLag(f"how far standbys have replayed can't be asked: {why}", is_known=False)
        return lag_of(found, self._clock.elapsed() - self._began, connection.info.user)

    def wait(self, limit: timedelta) -> ReplayLag:
        """Return once all have replayed it, at the latest after `limit`: then what is missing."""
        ends = self._clock.elapsed() + limit.total_seconds()
        while (lag := self.lag()) and self._clock.elapsed() + _POLL <= ends:
            self._clock.sleep(_POLL)
        return lag


def lag_of(standbys: Sequence[Standby], seconds: float, role: str) -> ReplayLag:
    """Say what standbys have to replay some seconds after it was published; `role` is the one that asked. Pure."""
    if hidden := [standby for standby in standbys if standby.replay_lag_bytes is None]:
        names = ", ".join(map(str, hidden))
        return ReplayLag(
            f"how far {names} has replayed is not shown to {role}: grant {MONITORING_ROLE} to {quote_identifier(role)}",
            is_known=False,
            is_hidden=True,
        )
    late = ", ".join(f"{standby} has {_size(standby.replay_lag_bytes)} to replay" for standby in standbys if standby.replay_lag_bytes)
    return ReplayLag(f"{late} after {duration_text(timedelta(seconds=round(seconds)))}" if late else "")


def _size(count: int) -> str:
    """Return bytes as people read them."""
    return next(
        (f"{count / size:.1f} {unit}" for unit, size in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)) if count >= size), f"{count} bytes"
    )
