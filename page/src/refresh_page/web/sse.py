"""Notifies open pages of changes by server-sent events. An event carries a version only; the page then reloads its content."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from refresh_page.kube.store import Store

MAX_STREAMS: Final = 200
"""Concurrent event streams; further pages poll every 30 seconds."""
_POLL_SECONDS: Final = 5.0
"""Seconds between two polls of the version, which also depends on the clock and the run log, not only on events of the cluster."""
_MIN_INTERVAL: Final = 1.0
"""Minimum seconds between two events: a thousand refreshes change more often than anybody reads."""


class SseStreams:
    """The event streams of open pages."""

    def __init__(self, store: Store, poll_seconds: float = _POLL_SECONDS) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._open = 0

    def open(self, version: Callable[[], str]) -> Response:
        """Return a stream that sends the version whenever it changes; a 503 if too many streams are open."""
        if self._open >= MAX_STREAMS:
            return PlainTextResponse("too many open pages", status_code=503, headers={"Retry-After": "30"})
        return StreamingResponse(self._events(version), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _events(self, version: Callable[[], str]) -> AsyncIterator[str]:
        self._open += 1
        sent = ""
        try:
            yield "retry: 2000\n\n"
            while True:
                if version() != sent:
                    sent = version()
                    yield f"data: {sent}\n\n"
                    await asyncio.sleep(_MIN_INTERVAL)
                elif not await self._changed():
                    yield ": alive\n\n"
        finally:
            self._open -= 1

    async def _changed(self) -> bool:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._store.wait_for_change()
        except TimeoutError:
            return False
        return True
