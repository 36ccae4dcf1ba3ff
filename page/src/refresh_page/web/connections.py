"""One reader's connection: how long it may be silent, how slowly it may read, and how much of an answer waits for it.

uvicorn itself gives each reader the whole answer into its buffer, and waits for good for one who asks nothing, or reads nothing.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 512
"""Connections at once; beyond it, the one that has been silent for longest goes, or else the new one."""
IDLE_TIMEOUT: Final = 10.0
"""Seconds from the begin of a connection, or the end of an answer, until a whole request has come."""
STALL_TIMEOUT: Final = 10.0
"""Seconds for which a reader may take nothing of an answer."""
MIN_RATE: Final = 32 * 1024
"""Bytes in a second: what a reader must take on average of a long answer, beyond the first seconds."""
CHUNK_SIZE: Final = 64 * 1024
"""Bytes of an answer that are handed on at once, and those that wait for a reader."""


class LimitedConnection(H11Protocol):
    """A connection that ends where its reader only takes room."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **options)
        self._inner = self.app
        self.app = self._answer
        self._end: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._silent_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with little room for what the reader does not take, here and in the system."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=CHUNK_SIZE)
        if (connected := transport.get_extra_info("socket")) is not None and connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK_SIZE)
        self._is_silent()
        if len(self.connections) > MAX_CONNECTIONS:
            _longest_idle(self.connections, self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for timer in (self._end, self._stuck):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take what has come; only a whole request ends the wait for one."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self._silent_since = None
            self._ends_after(None)

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the reader to take the end of this answer."""
        self._is_silent()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The reader takes less than it is given."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STALL_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken something."""
        super().resume_writing()
        if self._stuck:
            self._stuck.cancel()
            self._stuck = None

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - as ASGI has them
        """Answer one request in parts, each once the reader has taken the one before."""

        async def in_parts(message: Any) -> None:  # noqa: ANN401
            body, begin = message.get("body", b""), 0
            if len(body) > CHUNK_SIZE:
                self._ends_after(STALL_TIMEOUT + len(body) / MIN_RATE)
                while len(body) - begin > CHUNK_SIZE:
                    await send({**message, "body": body[begin : begin + CHUNK_SIZE], "more_body": True})
                    begin += CHUNK_SIZE
                self._ends_after(None)
            await send({**message, "body": body[begin:]} if begin else message)

        await self._inner(scope, receive, in_parts)

    def _is_silent(self) -> None:
        self._silent_since = self.loop.time()
        self._ends_after(IDLE_TIMEOUT)

    def _ends_after(self, seconds: float | None) -> None:
        """End the connection after this time, or no more by this timer."""
        if self._end:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self.transport.abort) if seconds is not None else None


def _longest_idle(connections: Any, new: LimitedConnection) -> LimitedConnection:  # noqa: ANN401 - a set of uvicorn's protocols
    """The connection that has waited longest without a request; the new one where all others are being answered."""
    silent = [each for each in connections if isinstance(each, LimitedConnection) and each._silent_since is not None]
    return min(silent, key=lambda each: each._silent_since or 0.0, default=new)
