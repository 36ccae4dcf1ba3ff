"""The one switch for everything: while a ConfigMap of the operator's own namespace is there, no run starts anywhere.

It is not watched: the operator may read it by its name only, and asks for it again and again.
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
    """Return what the ConfigMap says: `reason` in words, and `until` when things go on; both may be missing."""
    content = mapping(item.get("data"))
    reason, until = str(content.get("reason", "")).strip(), str(content.get("until", "")).strip()
    where = f"(ConfigMap {at.name} in {at.namespace})"
    end, odd = _moment(until)
    words = ["all refreshes are paused", f" until {time_text(end)}" if end else "", f": {reason}" if reason else "", f" {where}"]
    return Pause(
        "".join(words) + (f"; ignoring its `until`, which is not a time such as 2026-12-24T18:00:00Z: {until}" if odd else ""), end
    )


def _moment(text: str) -> tuple[datetime | None, bool]:
    """The time that a text stands for, in UTC where it names no zone, and whether it is an odd one."""
    if not text:
        return None, False
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None, True
    return in_utc(found if found.tzinfo else found.replace(tzinfo=UTC)).replace(microsecond=0), False


class GlobalPause:
    """Whether everything is paused, as last seen."""

    def __init__(self, api: KubeClient, at: PauseRef | None) -> None:
        self._api = api
        self._at = at
        self._seen: Pause | None = None
        self._refused = False
        self.known = asyncio.Event()
        """Set once that was asked for."""

    def current(self, now: datetime) -> Pause | None:
        """Return the pause that there is now."""
        return self._seen if self._seen and (self._seen.until is None or now < self._seen.until) else None

    async def poll(self) -> bool:
        """Ask for the ConfigMap; return whether it says something else than before. Where nobody answers, nothing changes."""
        before = self._seen
        try:
            self._seen = await self._found()
        except Forbidden as error:
            if not self._refused:
                log.warning("can't see whether everything is paused: %s", error)
            self._refused = True
        except ApiError as error:
            log.warning("can't see whether everything is paused: %s", error)
            return False
        self.known.set()
        return self._seen != before

    async def _found(self) -> Pause | None:
        if self._at is None:
            return None
        try:
            return parse_pause(await self._api.get(CONFIGMAPS.path(self._at.namespace, self._at.name)), self._at)
        except NotFound:
            return None
