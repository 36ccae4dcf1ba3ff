"""The age of the runners' heartbeats, by the operator's clock alone: the clocks of nodes may differ from it."""

from datetime import datetime, timedelta

from refresh_operator.names import Ref
from refresh_operator.state.refresh import Refresh


class Heartbeats:
    """The last heartbeat of each refresh's runner, and when the operator first saw it."""

    def __init__(self) -> None:
        self._seen: dict[Ref, tuple[tuple[str, datetime], datetime]] = {}

    def age(self, refresh: Refresh, now: datetime) -> timedelta:
        """Return how long this refresh's runner has shown the same heartbeat; zero if there is no run."""
        if refresh.run is None:
            self._seen.pop(refresh.ref, None)
            return timedelta(0)
        heartbeat = (refresh.run.id, refresh.run.heartbeat_time)
        before = self._seen.get(refresh.ref)
        if before is None or before[0] != heartbeat:
            self._seen[refresh.ref] = before = (heartbeat, now)
        return now - before[1]

    def forget(self, ref: Ref | None = None) -> None:
        """Forget a deleted refresh, or all refreshes: during an outage of the API server, no runner can report a heartbeat."""
        if ref is None:
            self._seen.clear()
        else:
            self._seen.pop(ref, None)
