"""The lower bound of a refresh: the SQL that dbt sent to the warehouse, sent again without dbt, with the same parallelism.

The SQL is taken from the server's log of one run, where every statement has the ID of its node. Catalog queries and dry runs (`where false
limit 0`) are left out, because they are dbt's own work.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.run_request import RunRequest
from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.core.clock import Clock
from refresh_runner.model.plan import Attempt, plan_for
from refresh_runner.model.steps import MartCheck, ValidationStep
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.publish.derived_names import staging_relation
from refresh_runner.publish.live import publish, vacuum_analyze
from refresh_runner.publish.options import Mart, PublishOptions
from refresh_runner.validation.counting import count

_PREFIX: Final = "@@%p@@"
_ENTRY: Final = re.compile(r"^@@\d+@@\w+:  ", re.MULTILINE)
_STATEMENT: Final = re.compile(r"(?:statement|execute [^:]*): ")
_NODE: Final = re.compile(r"^/\* (\{.*?\}) \*/\s*", re.DOTALL)
_OWN: Final = re.compile(r"pg_catalog|information_schema|pg_class|pg_depend|pg_namespace|where false\s+limit 0", re.IGNORECASE)
_CONTROL: Final = re.compile(r"^(begin|commit|rollback)\b", re.IGNORECASE)


@dataclass
class Statements:
    """Statements by the id of their node, in order."""

    nodes: dict[str, list[str]] = field(default_factory=dict)

    def of(self, database: str, other: str) -> dict[str, str]:
        """Return one script per node, for another database than the recorded one."""
        return {node: ";\n".join(text.replace(f'"{database}".', f'"{other}".') for text in texts) for node, texts in self.nodes.items()}


@contextmanager
def heard(server: EmbeddedPostgres, database: str) -> Iterator[Statements]:
    """Record the statements that are sent to a database while the block runs."""
    log = server.log
    began, found = log.stat().st_size, Statements()
    name = sql.Identifier(database)
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("alter system set log_line_prefix = {}").format(_PREFIX))
        connection.execute("select pg_reload_conf()")
        connection.execute(sql.SQL("alter database {} set log_statement = 'all'").format(name))
        try:
            yield found
        finally:
            connection.execute(sql.SQL("alter database {} reset log_statement").format(name))
    with log.open("rb") as file:
        file.seek(began)
        text = file.read().decode()
    for entry in statements_of(text):
        comment = _NODE.match(entry)
        node = json.loads(comment.group(1)).get("node_id") if comment else None
        body = entry[comment.end() :].strip().rstrip(";") if comment else ""
        if node and body and not _OWN.search(body) and not _CONTROL.match(body):
            found.nodes.setdefault(str(node), []).append(body)


def statements_of(text: str) -> Iterator[str]:
    """Yield the statements of a log, without the server's other messages."""
    starts = list(_ENTRY.finditer(text))
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        sent = _STATEMENT.match(text, start.end())
        if not sent:
            continue
        lines = text[sent.end() : end].splitlines()
        # Continuation lines of an entry begin with a tab; all others belong to the log.
        yield "\n".join([lines[0], *(line[1:] for line in lines[1:] if line.startswith("\t"))])


@dataclass(frozen=True)
class Floor:
    """The scripts of a refresh by step, and the means to send them."""

    dsn: str
    run_request: RunRequest
    steps: Mapping[str, Sequence[str]]
    threads: int = 8

    def run(self, clock: Clock, access: ConnectionInfo) -> dict[str, float]:
        """Execute in the warehouse what a refresh does. Return seconds by step."""
        seconds: dict[str, float] = {}
        plan = plan_for(self.run_request, Attempt("floor"), clock.now().date())
        checks = [check for step in plan.steps if isinstance(step, ValidationStep) for check in step.marts]
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for schema in {staging_relation(Relation(check.schema, check.table)).schema for check in checks}:
                connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        for name, scripts in self.steps.items():
            began = time.monotonic()
            self._send(scripts)
            seconds[name] = time.monotonic() - began
        began = time.monotonic()
        self._validate_and_publish(checks, WarehouseConnection(access, "floor", clock))
        seconds["validation"] = time.monotonic() - began
        return seconds

    def send_all(self) -> None:
        """Send the scripts without validating or publishing."""
        for scripts in self.steps.values():
            self._send(scripts)

    def _send(self, scripts: Sequence[str]) -> None:
        """Send the scripts over as many connections as threads, each in a transaction."""
        waiting: SimpleQueue[str] = SimpleQueue()
        for script in scripts:
            waiting.put(script)

        def send_on() -> None:
            with suppress(Empty), psycopg.connect(self.dsn) as connection:
                while script := waiting.get_nowait():
                    connection.execute(script.encode())
                    connection.commit()

        with ThreadPoolExecutor(self.threads) as pool:
            for sent in [pool.submit(send_on) for _ in range(min(self.threads, len(scripts)))]:
                sent.result()

    def _validate_and_publish(self, checks: Sequence[MartCheck], warehouse: WarehouseConnection) -> None:
        marts = [Mart(Relation(check.schema, check.table)) for check in checks]
        for check, mart in zip(checks, marts, strict=True):
            moved = type(check)(staging_relation(mart.relation).schema, check.table, check.key_columns)
            count(warehouse, moved, timedelta(minutes=5))
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            vacuum_analyze(connection, publish(connection, marts, lambda _live: None, PublishOptions(timedelta(minutes=10), lambda: None)))
        warehouse.close()


def by_step(scripts: Mapping[str, str], run_request: RunRequest) -> dict[str, list[str]]:
    """Return the scripts by step: layers have their models by name, everything else is tests."""
    steps: dict[str, list[str]] = {layer.name: [] for layer in run_request.spec.layers}
    steps["tests"] = []
    layer_of = {model: layer.name for layer in run_request.spec.layers for model in layer.select}
    for node, script in scripts.items():
        steps[layer_of.get(node.rsplit(".", 1)[-1], "tests") if node.startswith("model.") else "tests"].append(script)
    return steps


def scripts_of(server: EmbeddedPostgres, statements: Statements, listened: str, run_request: RunRequest, database: str) -> Floor:
    """Return the lower bound on another database of the same server."""
    return Floor(
        server.dsn_of(database), run_request, by_step(statements.of(listened, database), run_request), run_request.spec.dbt.threads
    )
