"""The global pause: while a certain ConfigMap exists in the operator's namespace, no run of any refresh starts.

The ConfigMap is polled, because the operator may only get it by name.
"""

import asyncio
import logging
from datetime import UTC, datetime

from refresh_api.model import in_utc, time_text
from refresh_api.objects import Json
from refresh_operator.errors import ApiError, Forbidden, NotFound
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import CONFIGMAPS
from refresh_operator.settings import PauseRef
from refresh_operator.state.kube_types import mapping
from refresh_operator.state.snapshot import Pause

log = logging.getLogger(__name__)


def parse_pause(item: Json, at: PauseRef) -> Pause:
    """Return the pause in a ConfigMap, whose keys `reason` and `until` are optional."""
    content = mapping(item.get("data"))
    reason, until = str(content.get("reason", "")).strip(), str(content.get("until", "")).strip()
    end, invalid = _moment(until)
    message = "all refreshes are paused" + (f" until {time_text(end)}" if end else "") + (f": {reason}" if reason else "")
    message += f" (ConfigMap {at.name} in {at.namespace})"
    if invalid:
        message += f"; ignoring its `until`, which is not a time such as 2026-12-24T18:00:00Z: {until}"
    return Pause(message, end)


def _moment(text: str) -> tuple[datetime | None, bool]:
    """Return the time in a text, in UTC unless it names a zone, and whether the text is invalid."""
    if not text:
        return None, False
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None, True
    return in_utc(found if found.tzinfo else found.replace(tzinfo=UTC)).replace(microsecond=0), False


class GlobalPause:
    """The global pause as last read."""

    def __init__(self, client: KubeClient, at: PauseRef | None) -> None:
        self._client = client
        self._at = at
        self._pause: Pause | None = None
        self._is_forbidden = False
        self.known = asyncio.Event()
        """Set once the ConfigMap has been read."""

    def current(self, now: datetime) -> Pause | None:
        """Return the pause that is in effect, or None."""
        return self._pause if self._pause and (self._pause.until is None or now < self._pause.until) else None

    async def poll(self) -> bool:
        """Read the ConfigMap and return whether the pause has changed. If the API server does not respond, the pause stays unchanged."""
        before = self._pause
        try:
            self._pause = await self._read()
        except Forbidden as error:
            if not self._is_forbidden:
                log.warning("cannot read the ConfigMap of the global pause: %s", error)
            self._is_forbidden = True
        except ApiError as error:
            log.warning("cannot read the ConfigMap of the global pause: %s", error)
            return False
        self.known.set()
        return self._pause != before

    async def _read(self) -> Pause | None:
        if self._at is None:
            return None
        try:
            return parse_pause(await self._client.get(CONFIGMAPS.path(self._at.namespace, self._at.name)), self._at)
        except NotFound:
            return None
