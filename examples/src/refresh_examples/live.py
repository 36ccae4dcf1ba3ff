"""Notifies any number of listeners of new data versions, with one poll per second while there are listeners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, suppress

import psycopg

from refresh_examples.versions import versions

LOOK_EVERY = 1.0
"""Poll interval in seconds."""
SPEAK_EVERY = 15.0
"""Maximum seconds between two messages to a listener, so that proxies keep the connection open."""
MOST_LISTENERS = 500
_AWAY = "event: away\ndata: {}\n\n"


class Live:
    """Data versions as server-sent events: `versions` with all marts, `away` while the warehouse is unreachable."""

    def __init__(self, connect: Callable[[], AbstractContextManager[psycopg.Connection]]) -> None:
        self._connect = connect
        self._said = ""
        self._changed = asyncio.Event()
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Return whether the maximum number of listeners is reached."""
        return self._listeners >= MOST_LISTENERS

    async def events(self) -> AsyncGenerator[str, None]:
        """Yield the current versions, then each change."""
        self._listeners += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        try:
            yield "retry: 1000\n\n"
            heard = ""
            while True:
                changed = self._changed
                if self._said != heard:
                    heard = self._said
                    yield heard
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), SPEAK_EVERY)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._listeners -= 1
            if not self._listeners and self._looking:
                self._looking.cancel()
                self._looking, self._said = None, ""

    async def _look_on(self) -> None:
        while True:
            with suppress(psycopg.Error):
                await self._look_while_connected()
            self._say(_AWAY)
            await asyncio.sleep(LOOK_EVERY)

    async def _look_while_connected(self) -> None:
        """Poll on one connection until it fails."""
        holder = self._connect()
        connection = await asyncio.to_thread(holder.__enter__)
        try:
            while True:
                found = await asyncio.to_thread(_look, connection)
                self._say(f"event: versions\ndata: {found}\n\n")
                await asyncio.sleep(LOOK_EVERY)
        finally:
            connection.close()

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._changed.set()
            self._changed = asyncio.Event()


def _look(connection: psycopg.Connection) -> str:
    with connection.transaction():
        return json.dumps({mart: version.json() for mart, version in versions(connection).items()}, sort_keys=True)
