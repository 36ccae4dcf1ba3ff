"""How long runners have been silent: seen by the operator's clock alone, since the clocks of the nodes may differ from it."""

from datetime import datetime, timedelta

from refresh_operator.names import Ref
from refresh_operator.state.refresh import Refresh


class Heartbeats:
    """The last sign of life of each refresh's runner, and when it was first seen."""

    def __init__(self) -> None:
        self._seen: dict[Ref, tuple[tuple[str, datetime], datetime]] = {}

    def age(self, refresh: Refresh, now: datetime) -> timedelta:
        """Return for how long this refresh's runner has shown the same heartbeat; nothing where there is no run."""
        if refresh.run is None:
            self._seen.pop(refresh.ref, None)
            return timedelta(0)
        sign = (refresh.run.id, refresh.run.heartbeat_time)
        before = self._seen.get(refresh.ref)
        if before is None or before[0] != sign:
            self._seen[refresh.ref] = before = (sign, now)
        return now - before[1]

    def forget(self, ref: Ref | None = None) -> None:
        """Begin anew with a refresh that is gone, or with all: while the API server was away nobody could show a sign of life."""
        if ref is None:
            self._seen.clear()
        else:
            self._seen.pop(ref, None)
