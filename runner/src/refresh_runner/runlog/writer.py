"""Writes the run log: the rows of one run in dbt_refresh_run, and of its steps, nodes and marts.

Rows are written in batches by a thread with its own connection, so that neither the run nor a publish on the lock's connection ever waits
for them. If they cannot be written, the run logs one warning and continues.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from refresh_api.status import MartStatus, Run, RunPhase, StepState, StepStatus
from refresh_runner.core.backoff import RUN_LOG_RETRY
from refresh_runner.core.compression import packed
from refresh_runner.core.errors import is_retryable
from refresh_runner.core.secrets import Redactor
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import NodeResult
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection, ensure_tables, short_transaction
from refresh_runner.postgres.data_version import RunSnapshots, Snapshot
from refresh_runner.postgres.own_tables import Table
from refresh_runner.runlog import queries
from refresh_runner.runlog.artifacts import FAILED_ROWS, Artifact
from refresh_runner.runlog.resume import NO_RESUME, Fingerprint, ResumeState, resume_state
from refresh_runner.runlog.schema import ARTIFACT, MART, NODE, RUN_LOG, STEP
from refresh_runner.validation import samples
from refresh_runner.validation.checks import MartCounts

log = logging.getLogger(__name__)

HEARTBEAT: Final = 15.0
"""Seconds between two heartbeats."""

Row = dict[str, object]


class RunLogWriter:
    """Writes the rows of one run."""

    def __init__(
        self, warehouse: WarehouseConnection, plan: Plan, fingerprint: Fingerprint, redact: Redactor, elapsed: Callable[[], float]
    ) -> None:
        self._warehouse = warehouse
        self._plan = plan
        self._fingerprint = fingerprint
        self._redact = redact
        self._elapsed = elapsed
        self._started: dict[str, float] = {}
        self._step = ""
        self._parents: Mapping[str, Sequence[str]] = {}
        self._last_steps: dict[str, StepStatus] = {}
        self._run: Row = {}
        self._rows: dict[tuple[str, object], tuple[Table, Row]] = {}
        self._run_changed = False
        self._is_open = False
        self._description: bytes | None = None
        self.lacks_description = False
        """Whether no run has stored the description of this project yet."""
        self._is_closed = False
        self._has_warned = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="run-log", daemon=True)

    def begin(self) -> ResumeState:
        """Insert the run's row, and close runs whose runner has died. Return what earlier attempts have built.

        The caller must hold the warehouse lock: only then is every other open run known to be dead.
        """
        try:
            with self._warehouse.short_transaction() as connection:
                ensure_tables(connection, RUN_LOG)
                found = self._insert_run(connection)
        except RefusedError as error:
            self._warn_once(str(error))
            return NO_RESUME
        self._is_open = True
        self._thread.start()
        return found

    def update(self, run: Run) -> None:
        """Record a new state of the run."""
        with self._changed:
            self._run = {
                "step": run.step,
                "phase": run.phase.value,
                "outcome": run.outcome and run.outcome.value,
                "reason": run.reason and run.reason.value,
                "message": self._redacted(run.message),
                "marts": run.marts,
                # Outside of a cluster, no further attempt follows an interrupted one.
                "over": run.phase is RunPhase.FINISHED or (run.phase is RunPhase.INTERRUPTED and run.pod is None),
            }
            self._run_changed = True
            for position, step in enumerate(run.steps, 1):
                self._update_step(position, step)
            self._changed.notify_all()

    def record_parents(self, parents: Mapping[str, Sequence[str]]) -> None:
        """Record with each of these models, by ID, what it reads. Call it before the first step."""
        self._parents = parents

    def node_succeeded(self, node_id: str) -> None:
        """Record that a node has succeeded. Return at once, because dbt's threads call this."""
        self._put_node(node_id, {"node": node_id.split(".", 2)[-1], "step": self._step, "state": "ok"})

    def record_nodes(self, step: str, results: Sequence[NodeResult]) -> None:
        """Record the results of nodes in one try of a step."""
        for result in results:
            found: Row = {"seconds": result.seconds, "sqlstate": result.sqlstate, "message": self._redacted(result.message) or None}
            found["rows"] = result.rows
            self._put_node(result.node.id, {"node": result.node.name, "step": step, "state": result.state.value, **found})

    def record_mart(self, counts: MartCounts, status: MartStatus) -> None:
        """Record the counts and the verdict of a mart."""
        found: Row = {"rows": None if counts.error else counts.rows, "nulls": Jsonb(dict(counts.nulls or {}))}
        found |= {"duplicates": counts.duplicates, "newest": counts.newest and counts.newest.day}
        self._put(MART, {"relation": status.relation, "verdict": status.verdict.value, "message": self._redacted(status.message), **found})

    def store(self, artifact: Artifact) -> None:
        """Store a file of the run."""
        self._store(artifact.name, artifact.media_type, artifact.text)

    def store_description(self, text: str) -> None:
        """Store the redacted description of the project, once for all of its runs. Call it before `close`."""
        self._description = packed(text)

    def store_failed_rows(self, found: Mapping[str, samples.Rows]) -> None:
        """Store the failing rows, by the test's name, if there are any."""
        if text := samples.to_json(found, self._redact):
            self._store(FAILED_ROWS, "application/json", text)

    def previous_run(self) -> queries.PreviousRun | None:
        """Return the previous run of this refresh; None if there is none or the query fails."""
        found = self._query(queries.PREVIOUS_RUN_SQL, fingerprint=self._fingerprint.value)
        return queries.PreviousRun(*found[0]) if found else None

    def record_inputs(self, inputs: RunSnapshots) -> None:
        """Record what the run reads. Call it before the first step."""
        self._query(queries.INPUTS_SQL, inputs=Jsonb(inputs.model_dump()))

    def record_outputs(self, made: Snapshot, version: str | None, proof: str) -> None:
        """Record what the run has built, as in RunSnapshots. Call it after the last step."""
        self._query(queries.OUTPUTS_SQL, made=Jsonb({"outputs": made.model_dump(), "version": version, "proof": proof}))

    def median_rows(self) -> dict[str, int]:
        """Return the median of each mart's rows over the last published runs of this refresh, if there are at least three."""
        return {str(relation): int(rows) for relation, rows in self._query(queries.MEDIAN_ROWS_SQL)}

    def close(self, within: float) -> None:
        """Write the remaining rows, and delete rows older than the retention, for at most `within` seconds."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._is_open:
            self._thread.join(within)

    def _insert_run(self, connection: psycopg.Connection) -> ResumeState:
        plan, run_request = self._plan, self._plan.run_request
        known = {"run_id": plan.attempt.run_id, "fingerprint": self._fingerprint.value}
        connection.execute(queries.CLOSE_LOST_SQL, known)
        self.lacks_description = connection.execute(queries.HAS_PROJECT_SQL, [self._fingerprint.project]).fetchone() is None
        row = connection.execute(queries.EARLIER_SQL, known).fetchone()
        found = resume_state(queries.EarlierAttempts(*row) if row else None, self._fingerprint.value)
        # Failing rows of an earlier attempt may be fixed by now.
        connection.execute(queries.DELETE_ARTIFACT_SQL, {**known, "name": FAILED_ROWS})
        connection.execute(
            queries.BEGIN_SQL,
            {
                **known,
                "refresh": run_request.refresh.name,
                "namespace": run_request.refresh.namespace,
                "generation": run_request.generation,
                "mode": run_request.mode,
                "project": self._fingerprint.project,
                "revision": self._fingerprint.revision,
                "vars": Jsonb(dict(run_request.vars)) if run_request.vars else None,
                "attempt": plan.attempt.number,
                "attempts": plan.attempt.of,
                "pod": plan.attempt.pod,
                "resumed": found.is_resumed,
            },
        )
        if not found.is_resumed:
            connection.execute(queries.DELETE_NODES_SQL, known)
        return found

    def _update_step(self, position: int, step: StepStatus) -> None:
        if self._last_steps.get(step.name) == step or step.state is StepState.PENDING:
            return
        self._last_steps[step.name] = step
        if step.state is StepState.RUNNING:
            self._step = step.name
            self._started.setdefault(step.name, self._elapsed())
        took = self._elapsed() - self._started[step.name] if step.name in self._started else None
        self._put(
            STEP,
            {
                "step": step.name,
                "position": position,
                "state": step.state.value,
                "tries": step.tries,
                "started_at": step.start_time,
                "seconds": took if step.state is not StepState.RUNNING else None,
                "message": self._redacted(step.message),
            },
        )

    def _redacted(self, text: str | None) -> str | None:
        return None if text is None else self._redact.clipped(text)

    def _query(self, statement: LiteralString, **further: object) -> list[tuple[Any, ...]]:
        """Execute a statement on the connection that holds the lock. Return its rows, or none if PostgreSQL rejects it."""
        ref = self._plan.run_request.refresh
        known = {"namespace": ref.namespace, "refresh": ref.name, "run_id": self._plan.attempt.run_id}
        try:
            with self._warehouse.short_transaction() as connection:
                cursor = connection.execute(statement, {**known, **further})
                return cursor.fetchall() if cursor.description else []
        except RefusedError as error:
            self._warn_once(str(error))
            return []

    def _store(self, name: str, media_type: str, text: str) -> None:
        self._put(ARTIFACT, {"name": name, "media_type": media_type, "content": packed(text)})

    def _put_node(self, node_id: str, row: Row) -> None:
        read = self._parents.get(node_id)
        self._put(NODE, {"node_id": node_id, **row, "parents": None if read is None else Jsonb(list(read))})

    def _put(self, table: Table, row: Row) -> None:
        fixed: Row = {"run_id": self._plan.attempt.run_id}
        if "attempt" in table.columns:
            fixed["attempt"] = self._plan.attempt.number
        key = (table.name, row[table.key[-1]])
        with self._changed:
            before = self._rows.get(key, (table, {}))[1]
            self._rows[key] = (table, {**before, **fixed, **row})
            self._changed.notify_all()

    def _write_all(self) -> None:
        connection: psycopg.Connection | None = None
        over = False
        while not over:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._rows or self._run_changed, HEARTBEAT)
                self._run_changed = False
                rows, self._rows, run, over = self._rows, {}, self._run, self._is_closed
            try:
                connection = self._write_with_reconnect(connection, run, list(rows.values()))
            except psycopg.Error as error:
                connection = None
                if not self._is_retryable(error):
                    return
                with self._changed:
                    self._rows = rows | self._rows
                    self._changed.wait_for(lambda: self._is_closed, RUN_LOG_RETRY.delay(1))
        if connection is not None:
            with suppress(psycopg.Error), connection:
                self._prune(connection)

    def _write_with_reconnect(
        self, connection: psycopg.Connection | None, run: Row, rows: Sequence[tuple[Table, Row]]
    ) -> psycopg.Connection:
        """Write. If the connection is lost, reconnect first."""
        if connection is not None:
            try:
                self._write(connection, run, rows)
                return connection
            except psycopg.OperationalError:
                if not connection.closed:
                    raise
        connection = self._warehouse.new_connection("log")
        # Rows that are lost in a crash of the server are written again, so commits need not wait for its disk.
        connection.execute("set synchronous_commit = off")
        self._write(connection, run, rows)
        return connection

    def _is_retryable(self, error: psycopg.Error) -> bool:
        self._warn_once(str(RefusedError(error)))
        return error.sqlstate is None or is_retryable(error.sqlstate)

    def _write(self, connection: psycopg.Connection, run: Row, rows: Sequence[tuple[Table, Row]]) -> None:
        with connection.pipeline(), short_transaction(connection):
            for table, row in rows:
                connection.execute(queries.upsert(table, row), row)
            connection.execute(queries.HEARTBEAT_SQL, {**run, "run_id": self._plan.attempt.run_id, "pod": self._plan.attempt.pod})

    def _prune(self, connection: psycopg.Connection) -> None:
        ref = self._plan.run_request.refresh
        days = self._plan.run_request.spec.history.retention_days
        with short_transaction(connection):
            connection.execute(queries.PRUNE_SQL, {"namespace": ref.namespace, "refresh": ref.name, "days": days})
            connection.execute(queries.PRUNE_DOCS_SQL)
            connection.execute(queries.PRUNE_PROJECTS_SQL)
            if self._description is not None:
                connection.execute(queries.STORE_PROJECT_SQL, [self._fingerprint.project, self._description])
            if (
                self._fingerprint.docs.is_file()
                and connection.execute(queries.HAS_DOCS_SQL, [self._fingerprint.project]).fetchone() is None
            ):
                connection.execute(queries.STORE_DOCS_SQL, [self._fingerprint.project, self._fingerprint.docs.read_bytes()])

    def _warn_once(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("dbt_refresh_run and its steps, nodes and marts are not up to date: %s", why)
