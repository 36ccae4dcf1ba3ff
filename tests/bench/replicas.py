"""Counts what readers on a hot standby see while marts are published on its primary; samples are judged by `bench.verdicts`.

    python -m bench.replicas [--publishes 16] [--rows 5000] [--query 3] [--pause 2]

One primary and one streaming standby with the default max_standby_streaming_delay (30 s). Five ways of publishing follow each other
under the same readers: merge with an immediate vacuum (as `vacuum: Immediate` does), merge as a run decides, and swap, with
hot_standby_feedback off and on. Readers of the standby are queries of some seconds, quick statements over all four marts, and
REPEATABLE READ transactions that read some seconds after their start.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from bench.readers import _ONE, MARTS, RESULTS, TERMS, build
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_api.spec import Vacuum
from refresh_runner.postgres.snapshot_holder import SnapshotHolder
from refresh_runner.publish.live import publish, vacuum_analyze
from support.eventually import eventually
from support.laptop import ROOT, say
from support.runner_harness import warehouse_connection
from support.standby import Pair, pair

KINDS: Final = ("slow", "slow", "slow", "slow", "statement", "repeatable")


@dataclass(frozen=True)
class Case:
    """One way of publishing."""

    name: str
    swaps: bool
    feedback: bool
    vacuum: Vacuum = Vacuum.AUTO


CASES: Final = (
    Case("rows_immediate", swaps=False, feedback=False, vacuum=Vacuum.IMMEDIATE),
    Case("rows", swaps=False, feedback=False),
    Case("rows_feedback", swaps=False, feedback=True),
    Case("swap", swaps=True, feedback=False),
    Case("swap_feedback", swaps=True, feedback=True),
)


@dataclass
class Reader:
    """A reader of the standby, and what it saw."""

    dsn: str
    kind: str
    seconds: float
    over: threading.Event
    reads: int = 0
    mixed: int = 0
    empty: int = 0
    cancelled: int = 0
    longest: float = 0.0
    others: set[str] = field(default_factory=set)

    def read_on(self) -> None:
        """Read until the bench stops; a session that the standby terminates is replaced."""
        while not self.over.is_set():
            try:
                with psycopg.connect(self.dsn, autocommit=True) as connection:
                    while not self.over.is_set() and not connection.closed:
                        self._read(connection)
            except psycopg.OperationalError as error:
                self.others.add(str(error))
                time.sleep(0.1)

    def _read(self, connection: psycopg.Connection) -> None:
        began = time.monotonic()
        try:
            seen = self._seen(connection)
        except psycopg.Error as error:
            if "conflict with recovery" in str(error):
                self.cancelled += 1
            else:
                self.others.add(str(error))
            return
        finally:
            self.longest = max(self.longest, time.monotonic() - began)
        self.reads += 1
        self.empty += None in seen
        self.mixed += len(seen - {None}) > 1

    def _seen(self, connection: psycopg.Connection) -> set[object]:
        """Return the generations in one read; None stands for an empty mart."""
        if self.kind == "slow":
            query = f"select min(gen), max(gen), pg_sleep({self.seconds}) from marts.{MARTS[0].relation.table}"
            return set((connection.execute(query.encode()).fetchone() or ())[:2])
        if self.kind == "statement":
            return set(connection.execute(f"select {_ONE}".encode()).fetchone() or ())
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read")
            connection.execute("select 1")
            time.sleep(self.seconds)
            return set(connection.execute(f"select {_ONE}".encode()).fetchone() or ())


@contextmanager
def readers(dsn: str, seconds: float) -> Iterator[list[Reader]]:
    """Read on the standby while the block runs."""
    over = threading.Event()
    reading = [Reader(dsn, kind, seconds, over) for kind in KINDS]
    threads = [threading.Thread(target=reader.read_on, daemon=True) for reader in reading]
    for thread in threads:
        thread.start()
    try:
        yield reading
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def measured(servers: Pair, case: Case, chosen: argparse.Namespace, samples: Samples) -> None:
    """Publish repeatedly in one way and add what the standby's readers saw to the samples."""
    with servers.connect() as holder:
        holder.execute("drop schema if exists marts, marts__next, marts__previous cascade")
        build(holder, "marts__next", 0, chosen.rows)
        publish(holder, MARTS, lambda _live: None, TERMS)
        servers.let(hot_standby_feedback="on" if case.feedback else "off")
        eventually(lambda: _feedback(holder) == case.feedback, 30)
        servers.caught_up()
        with warehouse_connection(servers.primary.env) as warehouse, readers(servers.standby.dsn, chosen.query) as reading:
            for generation in range(1, chosen.publishes + 1):
                snapshot = SnapshotHolder(warehouse, case.vacuum)
                snapshot.acquire()
                build(holder, "marts__next", generation, chosen.rows)
                if case.swaps and generation % 2:
                    for mart in MARTS:
                        holder.execute(f"alter table marts__next.{mart.relation.table} add column de_plus integer".encode())
                began = time.monotonic()
                vacuum_analyze(holder, publish(holder, MARTS, lambda _live: None, replace(TERMS, vacuum=case.vacuum)), case.vacuum)
                samples.add(f"{case.name}_publish_seconds", time.monotonic() - began)
                snapshot.release()
                samples.add(f"{case.name}_lag_seconds", _lag(holder))
                time.sleep(chosen.pause)
    for reader in reading:
        samples.add(f"{case.name}_longest_seconds", reader.longest)
        samples.add(f"{case.name}_mixed", reader.mixed)
        samples.add(f"{case.name}_empty_{reader.kind}", reader.empty)
        samples.add(f"{case.name}_cancelled_{reader.kind}", reader.cancelled)
        samples.add(f"{case.name}_done_{reader.kind}", reader.reads)
        samples.notes += [f"{case.name}: {other.splitlines()[0]}" for other in sorted(reader.others)[:3]]


def _feedback(holder: psycopg.Connection) -> bool:
    ((given,),) = holder.execute("select backend_xmin is not null from pg_stat_replication").fetchall()
    return bool(given)


def _lag(holder: psycopg.Connection) -> float:
    ((lag,),) = holder.execute("select coalesce(extract(epoch from replay_lag), 0) from pg_stat_replication").fetchall()
    return float(lag)


def summary(samples: Samples) -> Iterator[str]:
    """Yield a line for each way of publishing."""
    yield f"{'':<16}{'cancelled of slow':>20}{'RR empty':>12}{'mixed':>8}{'longest':>10}{'lag':>8}{'publish':>10}"

    def of(name: str) -> float:
        return sum(samples.samples[name])

    for case in CASES:
        cancelled, done = of(f"{case.name}_cancelled_slow"), of(f"{case.name}_done_slow")
        rr = f"{of(f'{case.name}_empty_repeatable'):.0f}/{of(f'{case.name}_done_repeatable'):.0f}"
        longest, lag = max(samples.samples[f"{case.name}_longest_seconds"]), max(samples.samples[f"{case.name}_lag_seconds"])
        publishing = sorted(samples.samples[f"{case.name}_publish_seconds"])[len(samples.samples[f"{case.name}_publish_seconds"]) // 2]
        shares = f"{cancelled:.0f}/{cancelled + done:.0f}"
        yield f"{case.name:<16}{shares:>20}{rr:>12}{of(f'{case.name}_mixed'):>8.0f}{longest:>9.1f}s{lag:>7.1f}s{publishing:>9.2f}s"


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Counts what readers on a hot standby see while marts are published.")
    parser.add_argument("--publishes", type=int, default=16)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--query", type=float, default=3.0, help="seconds that a slow query takes")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two publishes")
    parser.add_argument("--judge-later", type=Path, metavar="FILE", help="write the name of the samples' file there, and judge nothing")
    chosen = parser.parse_args()
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = f"python -m bench.replicas --publishes {chosen.publishes} --rows {chosen.rows} --query {chosen.query} --pause {chosen.pause}"
    samples = Samples("replicas", started, command)
    samples.counts |= {"rows a mart": chosen.rows, "publishes": chosen.publishes, "readers": len(KINDS)}
    with tempfile.TemporaryDirectory() as folder, pair(Path(folder)) as servers, servers.connect() as connection:
        samples.versions["postgresql"] = str(connection.info.server_version)
        for case in CASES:
            say(case.name)
            measured(servers, case, chosen, samples)
            servers.caught_up(120)
    path = samples.store(RESULTS)
    print("\n".join(summary(samples)))
    if chosen.judge_later:
        chosen.judge_later.write_text(str(path))
    print(f"stored in {path.relative_to(ROOT)}")
    return 0 if chosen.judge_later else judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
