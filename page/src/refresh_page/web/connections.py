"""Limits each client connection: how long it may idle, how slowly it may read, and how much of a response is buffered for it.

uvicorn alone buffers the whole response for each client, and waits forever for a client that sends or reads nothing.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 512
"""Concurrent connections; one more closes the connection that has been idle for longest, or else the new one."""
IDLE_TIMEOUT: Final = 10.0
"""Seconds from the start of a connection, or the end of a response, until a whole request has arrived."""
STALL_TIMEOUT: Final = 10.0
"""Seconds for which a client may read nothing of a response."""
MIN_RATE: Final = 32 * 1024
"""Bytes per second that a client must read on average of a long response, after the first seconds."""
CHUNK_SIZE: Final = 64 * 1024
"""Bytes of a response that are sent at once, and that are buffered for a client."""


class LimitedConnection(H11Protocol):
    """A connection that is closed when its client only occupies it."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's types
        super().__init__(*args, **options)
        self._inner = self.app
        self.app = self._answer
        self._idle_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open, with small write buffers here and in the kernel."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=CHUNK_SIZE)
        if (connected := transport.get_extra_info("socket")) is not None and connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK_SIZE)
        self._start_idle()
        if len(self.connections) > MAX_CONNECTIONS:
            _longest_idle(self.connections, self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close."""
        for timer in (self._idle_timer, self._stall_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle received data; only a whole request ends the idle time."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self._idle_since = None
            self._close_after(None)

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        self._start_idle()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the stall timeout: the client reads too slowly."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALL_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the stall timeout: the client has read something."""
        super().resume_writing()
        if self._stall_timer:
            self._stall_timer.cancel()
            self._stall_timer = None

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's types
        """Send a response in parts, each after the client has read the one before."""

        async def in_parts(message: Any) -> None:  # noqa: ANN401
            body, start = message.get("body", b""), 0
            if len(body) > CHUNK_SIZE:
                self._close_after(STALL_TIMEOUT + len(body) / MIN_RATE)
                while len(body) - start > CHUNK_SIZE:
                    await send({**message, "body": body[start : start + CHUNK_SIZE], "more_body": True})
                    start += CHUNK_SIZE
                self._close_after(None)
            await send({**message, "body": body[start:]} if start else message)

        await self._inner(scope, receive, in_parts)

    def _start_idle(self) -> None:
        self._idle_since = self.loop.time()
        self._close_after(IDLE_TIMEOUT)

    def _close_after(self, seconds: float | None) -> None:
        """Close the connection after this time; None stops the timer."""
        if self._idle_timer:
            self._idle_timer.cancel()
        self._idle_timer = self.loop.call_later(seconds, self.transport.abort) if seconds is not None else None


def _longest_idle(connections: Any, new: LimitedConnection) -> LimitedConnection:  # noqa: ANN401 - uvicorn's protocols
    """Return the connection that has been idle for longest; the new one if all others are busy."""
    idle = [each for each in connections if isinstance(each, LimitedConnection) and each._idle_since is not None]
    return min(idle, key=lambda each: each._idle_since or 0.0, default=new)
