"""Counts mixed reads while marts are published; samples are stored and judged by `bench.verdicts`.

    python -m bench.readers [--publishes 50] [--rows 5000] [--readers 6] [--reads 50000]

Four marts whose rows have a generation are published repeatedly with every row changed. Readers read all four continuously: in one
statement, in a REPEATABLE READ transaction and in a READ COMMITTED one of four statements each. A read is mixed if it sees two generations.
Publishes are spread evenly over the reads. As a control, the same readers watch marts that are published directly, as dbt does: they must
see mixed reads.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.live import publish, vacuum_analyze
from refresh_runner.publish.options import Mart, PublishOptions
from support.laptop import ROOT, warehouse

STATE = ROOT / ".state" / "bench" / "readers"
RESULTS = ROOT / "tests" / "bench" / "results"
MARTS = [Mart(Relation("marts", f"mart_{name}")) for name in "abcd"]
TERMS = PublishOptions(timedelta(minutes=2), lambda: None)
KINDS = ("statement", "repeatable", "committed")
_ONE = ", ".join(
    f"(select min(gen) from marts.{mart.relation.table}), (select max(gen) from marts.{mart.relation.table})" for mart in MARTS
)


@dataclass
class Reader:
    """A continuous reader, in one of the three ways, and what it saw."""

    dsn: str
    kind: str
    over: threading.Event
    reads: int = 0
    mixed: int = 0
    errors: list[str] = field(default_factory=list)
    longest: float = 0.0

    def read_on(self) -> None:
        """Read until the bench stops."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            if self.kind == "repeatable":
                connection.execute("set default_transaction_isolation = 'repeatable read'")
            while not self.over.is_set():
                began = time.monotonic()
                try:
                    seen = self._seen(connection)
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    continue
                self.longest = max(self.longest, time.monotonic() - began)
                self.reads += 1
                self.mixed += len(seen) != 1

    def _seen(self, connection: psycopg.Connection) -> set[object]:
        """Return the generations in one read; None stands for an empty mart."""
        if self.kind == "statement":
            return set(connection.execute(f"select {_ONE}".encode()).fetchone() or ())
        with connection.transaction():
            found: set[object] = set()
            for mart in MARTS:
                found |= set(connection.execute(f"select min(gen), max(gen) from marts.{mart.relation.table}".encode()).fetchone() or ())
            return found


def watched(dsn: str, count: int, act: Callable[[list[Reader]], None]) -> list[Reader]:
    """Run a function while readers read; return the readers."""
    over = threading.Event()
    readers = [Reader(dsn, KINDS[number % len(KINDS)], over) for number in range(count)]
    threads = [threading.Thread(target=reader.read_on, daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        act(readers)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    return readers


def wait_for_reads(readers: list[Reader], count: int, within: float = 60) -> None:
    """Wait until the readers have reached this number of reads in total, or until a timeout, after which the verdict fails."""
    ends = time.monotonic() + within
    while sum(reader.reads for reader in readers) < count and time.monotonic() < ends:
        time.sleep(0.01)


def build(connection: psycopg.Connection, schema: str, generation: int, rows: int) -> None:
    """Build the four marts in a schema."""
    connection.execute(f"create schema if not exists {schema}".encode())
    for mart in MARTS:
        name = mart.relation.table
        connection.execute(
            f"create table {schema}.{name} as select n as id, {generation} as gen, md5(n::text) as texte from generate_series(1, {rows}) n;"
            f"alter table {schema}.{name} add primary key (id)".encode()
        )


def directly(connection: psycopg.Connection, generation: int, rows: int) -> None:
    """Replace the live marts one after the other, each by a rename in its own transaction, as dbt's table materialization does."""
    build(connection, "construction", generation, rows)
    for mart in MARTS:
        name = mart.relation.table
        with connection.transaction():
            connection.execute(f"alter table marts.{name} set schema anciens; alter table construction.{name} set schema marts".encode())
        connection.execute(f"drop table anciens.{name} cascade".encode())


def keep(samples: Samples, readers: list[Reader], prefix: str = "") -> None:
    """Add what readers saw to the samples."""
    for reader in readers:
        samples.add(f"{prefix}reads", reader.reads)
        samples.add(f"{prefix}reads_{reader.kind}", reader.reads)
        samples.add(f"{prefix}mixed_{reader.kind}", reader.mixed)
        samples.add(f"{prefix}errors", len(reader.errors))
        samples.add(f"{prefix}longest_seconds", reader.longest)
        samples.notes += [f"{prefix}{reader.kind}: {error}" for error in sorted(set(reader.errors))[:5]]


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Counts what readers see while marts are published.")
    parser.add_argument("--publishes", type=int, default=50)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--readers", type=int, default=6)
    parser.add_argument("--reads", type=int, default=50_000, help="how often they read at the least while marts are published")
    parser.add_argument("--judge-later", type=Path, metavar="FILE", help="write the name of the samples' file there, and judge nothing")
    chosen = parser.parse_args()
    STATE.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples(
        "readers", started, f"python -m bench.readers --publishes {chosen.publishes} --rows {chosen.rows} --reads {chosen.reads}"
    )
    samples.counts |= {"rows a mart": chosen.rows, "readers": chosen.readers}
    with warehouse(STATE) as server, psycopg.connect(server.dsn, autocommit=True) as holder:
        samples.versions["postgresql"] = str(holder.info.server_version)
        holder.execute("drop schema if exists marts, marts__next, marts__previous, construction, anciens cascade; create schema anciens")
        build(holder, "marts__next", 0, chosen.rows)
        vacuum_analyze(holder, publish(holder, MARTS, lambda _live: None, TERMS))

        def swap(readers: list[Reader]) -> None:
            for generation in range(1, chosen.publishes + 1):
                build(holder, "marts__next", generation, chosen.rows)
                began = time.monotonic()
                live = publish(holder, MARTS, lambda _live: None, TERMS)
                vacuum_analyze(holder, live)
                samples.add("publish_seconds", time.monotonic() - began)
                samples.add("rows_written", sum(written.rows_written for written in live.values()))
                wait_for_reads(readers, chosen.reads * generation // chosen.publishes)

        def direct(_readers: list[Reader]) -> None:
            for generation in range(1001, 1001 + chosen.publishes):
                directly(holder, generation, chosen.rows)

        keep(samples, watched(server.dsn, chosen.readers, swap))
        keep(samples, watched(server.dsn, chosen.readers, direct), "direct_")
    path = samples.store(RESULTS)
    if chosen.judge_later:
        chosen.judge_later.write_text(str(path))
    print(f"stored in {path.relative_to(ROOT)}")
    return 0 if chosen.judge_later else judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
