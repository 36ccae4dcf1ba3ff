"""Queries the run log in the warehouse. Transactions are read-only, and connections, time and sizes are limited."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, LiteralString, TypeVar

import certifi
import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import tuple_row

from refresh_api.names import WAREHOUSE_KEYS
from refresh_page.kube.models import Ref
from refresh_page.runlog import comparison_models, models, node_models, verdict_models
from refresh_page.runlog.comparison_models import ComparedRunRow, ComparisonRows, MartPairRow, NodePairRow
from refresh_page.runlog.models import ArtifactRow, LastStates, MartRow, NodeRow, RefreshRows, RunRow, RunRows, StepRow
from refresh_page.runlog.node_models import NeighbourRow, NodeMartRow, NodeRows, NodeRunRow
from refresh_page.runlog.verdict_models import VerdictRow, VerdictRows, VerdictRunRow

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT: Final = 3
"""Seconds to connect."""
_STATEMENT_TIMEOUT: Final = "3s"
_SESSION_TIMEOUT: Final = 6.0
"""Seconds for a session, including the wait for a connection."""
_MAX_CONNECTIONS: Final = 4
"""Concurrent connections."""
_SYSTEM_CERTIFICATES: Final = "system"
MAX_ARTIFACT_SIZE: Final = 32 * 2**20
"""Bytes of an artifact after decompression."""
Row = TypeVar(
    "Row",
    RunRow,
    StepRow,
    NodeRow,
    MartRow,
    ArtifactRow,
    NodeRunRow,
    NodeMartRow,
    NeighbourRow,
    ComparedRunRow,
    NodePairRow,
    MartPairRow,
    VerdictRunRow,
    VerdictRow,
)


class RunLogUnavailableError(Exception):
    """The run log cannot be read. The reason is in the page's log only, since it may name hosts and users."""


@dataclass(frozen=True)
class ArtifactContent:
    """The content of an artifact."""

    media_type: str
    content: bytes


class RunLogRepository:
    """The run log. The mounted Secret is read for each connection, so that a rotated password works without a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def refresh_rows(self, ref: Ref) -> RefreshRows:
        """Return the last runs of a refresh. Raise RunLogUnavailableError."""
        parameters: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name}
        async with self._session() as session:
            runs = await session.rows(RunRow, models.RUNS, parameters)
            ids = {"runs": [run.run for run in runs]}
            return RefreshRows(
                tuple(runs), tuple(await session.rows(StepRow, models.STEPS, ids)), tuple(await session.rows(MartRow, models.MARTS, ids))
            )
        raise AssertionError("the session returns or raises")

    async def run_rows(self, ref: Ref, run: str) -> RunRows | None:
        """Return one run; None if the refresh has no such run. Raise RunLogUnavailableError."""
        parameters: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "run": run, "runs": [run]}
        async with self._session() as session:
            found = await session.rows(RunRow, models.RUN, parameters)
            if not found:
                return None
            medians = await session.tuples(models.MEDIANS, parameters)
            return RunRows(
                found[0],
                tuple(await session.rows(StepRow, models.STEPS, parameters)),
                tuple(await session.rows(NodeRow, models.NODES, parameters)),
                tuple(await session.rows(MartRow, models.MARTS, parameters)),
                tuple(await session.rows(ArtifactRow, models.ARTIFACTS, parameters)),
                {str(step): float(str(seconds)) for step, seconds in medians},
                await session.text(comparison_models.PREVIOUS_RUN, parameters),
            )
        raise AssertionError("the session returns or raises")

    async def comparison_rows(self, ref: Ref, before: str, after: str) -> ComparisonRows | None:
        """Return two runs; None if the refresh lacks one of them. Raise RunLogUnavailableError.

        By default, they are the last run and the one before it, apart from skipped ones.
        """
        known: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name}
        async with self._session() as session:
            after = after or await session.text(comparison_models.LAST_RUN, known)
            before = before or await session.text(comparison_models.PREVIOUS_RUN, {**known, "run": after})
            found = await session.rows(ComparedRunRow, comparison_models.COMPARED_RUNS, {**known, "runs": [before, after]})
            runs = {run.run: run for run in found}
            if not {before, after} <= runs.keys():
                return None
            pair = {"before": before, "after": after}
            nodes = await session.rows(NodePairRow, comparison_models.NODE_PAIRS, pair)
            marts = await session.rows(MartPairRow, comparison_models.MART_PAIRS, pair)
            return ComparisonRows(runs[before], runs[after], tuple(nodes), tuple(marts))
        raise AssertionError("the session returns or raises")

    async def verdict_rows(self, ref: Ref) -> VerdictRows:
        """Return the results of the tests of a refresh over its last runs. Raise RunLogUnavailableError."""
        async with self._session() as session:
            runs = await session.rows(VerdictRunRow, verdict_models.RUNS, {"namespace": ref.namespace, "refresh": ref.name})
            tests = await session.rows(VerdictRow, verdict_models.TESTS, {"runs": [run.run for run in runs]})
            return VerdictRows(tuple(runs), tuple(tests))
        raise AssertionError("the session returns or raises")

    async def node_runs(self, ref: Ref, node: str) -> tuple[NodeRunRow, ...]:
        """Return the last runs of a node, by its ID, newest first; none if the last runs of the refresh had no such node.

        Raise RunLogUnavailableError.
        """
        parameters: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "node": node}
        async with self._session() as session:
            return tuple(await session.rows(NodeRunRow, node_models.NODE_RUNS, parameters))
        raise AssertionError("the session returns or raises")

    async def node_rows(self, node: str, runs: Sequence[str], ids: Sequence[str], relation: str | None) -> NodeRows:
        """Return nodes of the first of these runs, by their IDs, and those that read a node; and the results of validating its table.

        Raise RunLogUnavailableError.
        """
        parameters: dict[str, object] = {"node": node, "run": runs[0], "runs": list(runs), "ids": list(ids), "relation": relation}
        async with self._session() as session:
            neighbours = await session.rows(NeighbourRow, node_models.NEIGHBOURS, parameters)
            marts = await session.rows(NodeMartRow, node_models.NODE_MARTS, parameters) if relation else []
            return NodeRows(tuple(neighbours), tuple(marts))
        raise AssertionError("the session returns or raises")

    async def last_states(self, ref: Ref) -> LastStates:
        """Return the states of the nodes in the last run of a refresh that has executed any. Raise RunLogUnavailableError."""
        async with self._session() as session:
            rows = await session.tuples(models.STATES, {"namespace": ref.namespace, "refresh": ref.name})
            states = {str(id_): str(state) for _, id_, state in rows}
            return LastStates(str(rows[0][0]) if rows and rows[0][0] else None, states)
        raise AssertionError("the session returns or raises")

    async def project(self, id_: str) -> bytes | None:
        """Return the description of a dbt project; None if no run has stored it, or the role may not read it.

        Raise RunLogUnavailableError.
        """
        async with self._session() as session:
            try:
                found = await session.tuples(models.PROJECT, {"project": id_})
            except psycopg.errors.InsufficientPrivilege:
                # a table of a newer runner, which the role of the page cannot read before an administrator has granted it
                log.warning("cannot read the descriptions of dbt projects: grant SELECT on dbt_refresh_project to the role of the page")
                return None
        content = found[0][0] if found else None
        return decompress(content) if isinstance(content, bytes) else None

    async def artifact(self, ref: Ref, run: str, name: str) -> ArtifactContent | None:
        """Return an artifact; None if it does not exist. Raise RunLogUnavailableError."""
        parameters: dict[str, object] = {"namespace": ref.namespace, "refresh": ref.name, "run": run, "name": name}
        async with self._session() as session:
            if not await session.rows(RunRow, models.RUN, parameters):
                return None
            found = await session.tuples(models.CONTENT, parameters)
        if not found:
            return None
        media_type, compressed = found[0]
        return ArtifactContent(str(media_type), decompress(compressed if isinstance(compressed, bytes) else b""))

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
            log.warning("cannot read the run log: %s", str(error).strip().partition("\n")[0] or type(error).__name__)
            raise RunLogUnavailableError from error

    async def _connect(self) -> AsyncConnection[tuple[object, ...]]:
        secret = {path.name: path.read_text().rstrip("\r\n") for path in self._folder.iterdir() if path.is_file()}
        if missing := [key for key in WAREHOUSE_KEYS if not secret.get(key)]:
            raise OSError(f"the Secret lacks the keys {', '.join(missing)}")
        certificates = _certificates(secret.get("sslrootcert", "").strip(), self._folder / "sslrootcert")
        connection = await AsyncConnection.connect(
            host=secret["host"],
            port=secret.get("port", "5432"),
            dbname=secret["dbname"],
            user=secret["user"],
            password=secret["password"],
            sslmode=secret.get("sslmode") or ("verify-full" if certificates == _SYSTEM_CERTIFICATES else "prefer"),
            sslrootcert=certificates,
            client_encoding="UTF8",
            application_name="refresh-page",
            connect_timeout=_CONNECT_TIMEOUT,
            prepare_threshold=None,
        )
        # read-only whatever the role may do; a pooler in transaction mode passes on SET LOCAL, but not options of the session
        await connection.set_read_only(True)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.execute(f"set local statement_timeout = '{_STATEMENT_TIMEOUT}'")
        await connection.execute("set local timezone = 'UTC'")
        # The driver parses this form of dates alone, whatever the role sets.
        await connection.execute("set local datestyle = 'ISO'")
        return connection


def _certificates(content: str, file: Path) -> str | None:
    """Return the trusted certificates, as the runner reads the same key: PEM in the file itself, a path, or libpq's word `system`."""
    if content == _SYSTEM_CERTIFICATES:
        # The OpenSSL bundled with psycopg looks for the system's certificates in the paths of its build machine.
        if not os.environ.get("SSL_CERT_DIR"):
            os.environ.setdefault("SSL_CERT_FILE", ssl.get_default_verify_paths().cafile or certifi.where())
        return content
    if content.startswith("/") and "\n" not in content:
        return content
    return str(file) if content else None


class ReadSession:
    """Queries in one read-only transaction. A table that does not exist yet, as before the first run, counts as empty."""

    def __init__(self, connection: AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection

    async def rows(self, row: type[Row], query: LiteralString, parameters: Mapping[str, object]) -> list[Row]:
        """Return the rows of a query as dataclasses."""
        columns = [field.name for field in fields(row)]
        found: list[dict[str, Any]] = [dict(zip(columns, each, strict=True)) for each in await self.tuples(query, parameters)]
        return [row(**each) for each in found]

    async def text(self, query: LiteralString, parameters: Mapping[str, object]) -> str:
        """Return the first column of the first row of a query; empty without a row."""
        found = await self.tuples(query, parameters)
        return str(found[0][0]) if found else ""

    async def tuples(self, query: LiteralString, parameters: Mapping[str, object]) -> Sequence[tuple[object, ...]]:
        """Return the rows of a query as tuples."""
        try:
            async with self._connection.transaction():
                cursor = self._connection.cursor(row_factory=tuple_row)
                return await (await cursor.execute(query, parameters)).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            return []


def decompress(compressed: bytes) -> bytes:
    """Return the decompressed bytes, at most MAX_ARTIFACT_SIZE: a small gzip file can expand to gigabytes."""
    return zlib.decompressobj(wbits=31).decompress(compressed, MAX_ARTIFACT_SIZE)
