"""The door to the warehouse's log tables: reads only, a few rows, within seconds, and never holds a page up."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import tuple_row

from refresh_page.kube.models import Ref
from refresh_page.runlog import models
from refresh_page.runlog.models import ArtifactRow, MartRow, NodeRow, Past, RunRow, RunRows, StepRow

log = logging.getLogger(__name__)

_CONNECT: Final = 3
"""Seconds to connect."""
_STATEMENT: Final = "3s"
_LOOK: Final = 6.0
"""Seconds for one look, all in all."""
_AT_ONCE: Final = 4
"""Connections at the same time."""
LARGEST: Final = 32 * 2**20
"""Bytes of an artifact, once it is unpacked."""
_NEEDED: Final = ("host", "dbname", "user", "password")
Row = TypeVar("Row")


class AwayError(Exception):
    """The log tables can't be read now; the reason is in the page's log, since it may name hosts and users."""


@dataclass(frozen=True)
class Content:
    """A file that a run left."""

    media_type: str
    content: bytes


class Records:
    """The log tables, by a Secret that is read anew for each connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def of_refresh(self, ref: Ref) -> Past:
        """Return the last runs of a refresh; AwayError if they can't be read."""
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name}
        async with self._look() as look:
            runs = await look.all(RunRow, models.RUNS, known)
            ids = {"runs": [run.run for run in runs]}
            return Past(tuple(runs), tuple(await look.all(StepRow, models.STEPS, ids)), tuple(await look.all(MartRow, models.MARTS, ids)))
        raise AssertionError("the look returns or raises")

    async def of_run(self, ref: Ref, run: str) -> RunRows | None:
        """Return one run; None if there is none of that refresh, AwayError if it can't be read."""
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "run": run, "runs": [run]}
        async with self._look() as look:
            found = await look.all(RunRow, models.RUN, known)
            if not found:
                return None
            medians = await look.tuples(models.MEDIANS, known)
            return RunRows(
                found[0],
                tuple(await look.all(StepRow, models.STEPS, known)),
                tuple(await look.all(NodeRow, models.NODES, known)),
                tuple(await look.all(MartRow, models.MARTS, known)),
                tuple(await look.all(ArtifactRow, models.ARTIFACTS, known)),
                {str(step): float(str(seconds)) for step, seconds in medians},
            )
        raise AssertionError("the look returns or raises")

    async def content(self, ref: Ref, run: str, name: str) -> Content | None:
        """Return a file of a run; None if there is none, AwayError if it can't be read."""
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "run": run, "name": name}
        async with self._look() as look:
            if not await look.all(RunRow, models.RUN, known):
                return None
            found = await look.tuples(models.CONTENT, known)
        if not found:
            return None
        media_type, packed = found[0]
        return Content(str(media_type), unpacked(packed if isinstance(packed, bytes) else b""))

    @asynccontextmanager
    async def _look(self) -> AsyncIterator[_Look]:
        try:
            async with asyncio.timeout(_LOOK), self._turns:
                connection = await self._connection()
                try:
                    yield _Look(connection)
                finally:
                    await connection.close()
        except (psycopg.Error, TimeoutError, OSError) as error:
            log.warning("the log tables can't be read: %s", str(error).strip().partition("\n")[0] or type(error).__name__)
            raise AwayError from error

    async def _connection(self) -> AsyncConnection[tuple[object, ...]]:
        secret = {path.name: path.read_text().rstrip("\r\n") for path in self._folder.iterdir() if path.is_file()}
        if missing := [key for key in _NEEDED if not secret.get(key)]:
            raise OSError(f"the Secret lacks {', '.join(missing)}")
        certificate = self._folder / "sslrootcert"
        connection = await AsyncConnection.connect(
            host=secret["host"],
            port=secret.get("port", "5432"),
            dbname=secret["dbname"],
            user=secret["user"],
            password=secret["password"],
            sslmode=secret.get("sslmode", "prefer"),
            sslrootcert=str(certificate) if certificate.is_file() else None,
            application_name="refresh-page",
            connect_timeout=_CONNECT,
            prepare_threshold=None,
        )
        # in one transaction that can't write, whatever the role may: poolers pass this on, other than options of the session
        await connection.set_read_only(True)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.execute(f"set local statement_timeout = '{_STATEMENT}'")
        await connection.execute("set local timezone = 'UTC'")
        return connection


class _Look:
    """Queries within one transaction; a table that is not there yet, as before the first run, is empty."""

    def __init__(self, connection: AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection

    async def all(self, row: type[Row], query: LiteralString, known: Mapping[str, object]) -> list[Row]:
        """Return the rows of a query as values."""
        columns = row.__dataclass_fields__  # type: ignore[attr-defined]
        return [row(**dict(zip(columns, found, strict=True))) for found in await self.tuples(query, known)]

    async def tuples(self, query: LiteralString, known: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        """Return the rows of a query."""
        try:
            async with self._connection.transaction():
                cursor = self._connection.cursor(row_factory=tuple_row)
                return await (await cursor.execute(query, known)).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            return []


def unpacked(packed: bytes) -> bytes:
    """Return what gzip packed, LARGEST bytes at most: few bytes can unpack to a great many."""
    return zlib.decompressobj(wbits=31).decompress(packed, LARGEST)
