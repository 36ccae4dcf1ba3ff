"""Tells open pages that there is something new, by server-sent events; what is new they ask for themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from refresh_page.kube.store import Store

MAX_STREAMS: Final = 200
"""Open pages that are told of changes at the same time; the others ask every half minute."""
_POLL_SECONDS: Final = 5.0
"""Seconds between two looks where the cluster tells nothing: what only the clock or the log tables change shows then."""
_MIN_INTERVAL: Final = 1.0
"""Seconds between two events at least: a thousand refreshes change more often than anybody reads."""


class SseStreams:
    """The open pages."""

    def __init__(self, store: Store, poll_seconds: float = _POLL_SECONDS) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._open = 0

    def open(self, version: Callable[[], str]) -> Response:
        """Return events with the version, whenever it has changed; 503 where too many pages are open."""
        if self._open >= MAX_STREAMS:
            return PlainTextResponse("too many open pages", status_code=503, headers={"Retry-After": "30"})
        return StreamingResponse(self._events(version), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _events(self, version: Callable[[], str]) -> AsyncIterator[str]:
        self._open += 1
        told = ""
        try:
            yield "retry: 2000\n\n"
            while True:
                if version() != told:
                    told = version()
                    yield f"data: {told}\n\n"
                    await asyncio.sleep(_MIN_INTERVAL)
                elif not await self._changes():
                    yield ": alive\n\n"
        finally:
            self._open -= 1

    async def _changes(self) -> bool:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._store.wait_for_change()
        except TimeoutError:
            return False
        return True
