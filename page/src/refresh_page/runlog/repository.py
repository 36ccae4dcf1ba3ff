"""The door to the warehouse's log tables: reads only, a few rows, within seconds, and never holds a page up."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import tuple_row

from refresh_page.kube.models import Ref
from refresh_page.runlog import models
from refresh_page.runlog.models import ArtifactRow, MartRow, NodeRow, RefreshRows, RunRow, RunRows, StepRow

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT: Final = 3
"""Seconds to connect."""
_STATEMENT_TIMEOUT: Final = "3s"
_SESSION_TIMEOUT: Final = 6.0
"""Seconds for one look, all in all."""
_MAX_CONNECTIONS: Final = 4
"""Connections at the same time."""
MAX_ARTIFACT_SIZE: Final = 32 * 2**20
"""Bytes of an artifact, once it is unpacked."""
_REQUIRED_KEYS: Final = ("host", "dbname", "user", "password")
Row = TypeVar("Row", RunRow, StepRow, NodeRow, MartRow, ArtifactRow)


class RunLogUnavailableError(Exception):
    """The log tables can't be read now; the reason is in the page's log, since it may name hosts and users."""


@dataclass(frozen=True)
class ArtifactContent:
    """A file that a run left."""

    media_type: str
    content: bytes


class RunLogRepository:
    """The log tables, by a Secret that is read anew for each connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def refresh_rows(self, ref: Ref) -> RefreshRows:
        """Return the last runs of a refresh; AwayError if they can't be read."""
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name}
        async with self._session() as look:
            runs = await look.rows(RunRow, models.RUNS, known)
            ids = {"runs": [run.run for run in runs]}
            return RefreshRows(
                tuple(runs), tuple(await look.rows(StepRow, models.STEPS, ids)), tuple(await look.rows(MartRow, models.MARTS, ids))
            )
        raise AssertionError("the look returns or raises")

    async def run_rows(self, ref: Ref, run: str) -> RunRows | None:
        """Return one run; None if there is none of that refresh, AwayError if it can't be read."""
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "run": run, "runs": [run]}
        async with self._session() as look:
            found = await look.rows(RunRow, models.RUN, known)
            if not found:
                return None
            medians = await look.tuples(models.MEDIANS, known)
            return RunRows(
                found[0],
                tuple(await look.rows(StepRow, models.STEPS, known)),
                tuple(await look.rows(NodeRow, models.NODES, known)),
                tuple(await look.rows(MartRow, models.MARTS, known)),
                tuple(await look.rows(ArtifactRow, models.ARTIFACTS, known)),
                {str(step): float(str(seconds)) for step, seconds in medians},
            )
        raise AssertionError("the look returns or raises")

    async def artifact(self, ref: Ref, run: str, name: str) -> ArtifactContent | None:
        """Return a file of a run; None if there is none, AwayError if it can't be read."""
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "run": run, "name": name}
        async with self._session() as look:
            if not await look.rows(RunRow, models.RUN, known):
                return None
            found = await look.tuples(models.CONTENT, known)
        if not found:
            return None
        media_type, packed = found[0]
        return ArtifactContent(str(media_type), decompress(packed if isinstance(packed, bytes) else b""))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ReadSession]:
        try:
            async with asyncio.timeout(_SESSION_TIMEOUT), self._slots:
                connection = await self._connect()
                try:
                    yield ReadSession(connection)
                finally:
                    await connection.close()
        except (psycopg.Error, TimeoutError, OSError) as error:
            log.warning("the log tables can't be read: %s", str(error).strip().partition("\n")[0] or type(error).__name__)
            raise RunLogUnavailableError from error

    async def _connect(self) -> AsyncConnection[tuple[object, ...]]:
        secret = {path.name: path.read_text().rstrip("\r\n") for path in self._folder.iterdir() if path.is_file()}
        if missing := [key for key in _REQUIRED_KEYS if not secret.get(key)]:
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
            connect_timeout=_CONNECT_TIMEOUT,
            prepare_threshold=None,
        )
        # in one transaction that can't write, whatever the role may: poolers pass this on, other than options of the session
        await connection.set_read_only(True)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.execute(f"set local statement_timeout = '{_STATEMENT_TIMEOUT}'")
        await connection.execute("set local timezone = 'UTC'")
        return connection


class ReadSession:
    """Queries within one transaction; a table that is not there yet, as before the first run, is empty."""

    def __init__(self, connection: AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection

    async def rows(self, row: type[Row], query: LiteralString, known: Mapping[str, object]) -> list[Row]:
        """Return the rows of a query as values."""
        columns = [field.name for field in fields(row)]
        return [row(**dict(zip(columns, found, strict=True))) for found in await self.tuples(query, known)]

    async def tuples(self, query: LiteralString, known: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        """Return the rows of a query."""
        try:
            async with self._connection.transaction():
                cursor = self._connection.cursor(row_factory=tuple_row)
                return await (await cursor.execute(query, known)).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            return []


def decompress(packed: bytes) -> bytes:
    """Return what gzip packed, LARGEST bytes at most: few bytes can unpack to a great many."""
    return zlib.decompressobj(wbits=31).decompress(packed, MAX_ARTIFACT_SIZE)
