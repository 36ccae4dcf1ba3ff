"""Measures whether previews delay production runs of the same warehouse by anything but the processors that they use.

    python -m bench.previews_beside_runs [--rows 100000] [--runs 20] [--previews 50] [--workers 2]

Three sides, of as many runs each: alone, beside previews of the same warehouse, and beside as many previews of another database of the same
server, which use the same processors and disks but cannot hold anything that the runs need. The runs start evenly spread over the previews.
Meanwhile a session looks which sessions wait for which others: no run may wait for a preview. As a control, a session holds a lock that a
run needs, once, and this must be seen.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

import psycopg

from bench.previews import MART, SOURCE, Bench, schemas_left
from bench.refresh import RESULTS, STATE, new_side
from bench.verdicts import Samples
from bench.verdicts import main as judge
from support.laptop import say, warehouse

BLOCKED = """
select waiting.application_name, holding.application_name
from pg_stat_activity waiting, unnest(pg_blocking_pids(waiting.pid)) as blocker(pid), pg_stat_activity holding
where waiting.wait_event_type = 'Lock' and holding.pid = blocker.pid
"""
RUN, PREVIEW, CONTROL = "bench-", "preview-", "control"


@dataclass
class Sight:
    """How often a run was seen waiting, by the kind of session that held what it needed."""

    looks: int = 0
    waits: dict[str, int] = field(default_factory=dict)


@contextmanager
def watched(dsn: str) -> Iterator[Sight]:
    """Look every 20 ms which runs wait for which sessions."""
    over, sight = threading.Event(), Sight()

    def look() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not over.wait(0.02):
                sight.looks += 1
                for waiting, holding in connection.execute(BLOCKED.encode()).fetchall():
                    if waiting.startswith(RUN):
                        kind = next((each for each in (RUN, PREVIEW, CONTROL) if holding.startswith(each)), "other")
                        sight.waits[kind] = sight.waits.get(kind, 0) + 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield sight
    finally:
        over.set()
        thread.join(30)


@dataclass
class Spread:
    """Previews by several workers, and runs spread evenly over them."""

    runs: int
    previews: int
    workers: int
    """Previews at a time."""
    changed: int
    """How many rows each preview must find."""

    def beside(self, production: Bench, previewed: Bench, samples: Samples, side: str) -> None:
        """Make the previews of one warehouse, and the runs of another or the same one; add the seconds of each run."""
        ended = threading.Semaphore(0)

        def preview(_number: int) -> None:
            try:
                samples.add("changed_unlike_expected", abs(previewed.preview() - self.changed))
            finally:
                ended.release()

        with ThreadPoolExecutor(self.workers) as pool:
            running = [pool.submit(preview, number) for number in range(self.previews)]
            seen = 0
            for number in range(self.runs):
                while seen < number * self.previews // self.runs:
                    ended.acquire()
                    seen += 1
                samples.add(f"{side}_previews_left", sum(not each.done() for each in running))
                samples.add(f"{side}_seconds", _seconds(production, number))
            for each in running:
                each.result()


def _seconds(production: Bench, number: int) -> float:
    began = time.monotonic()
    production.run("Swap", number)
    return time.monotonic() - began


def control(production: Bench, samples: Samples) -> None:
    """Hold a lock on the mart for three seconds while a run publishes it; it must be seen that the run waits for it."""
    dsn = production.sides["swap"].dsn
    with watched(dsn) as sight, psycopg.connect(dsn, application_name=CONTROL) as holder:
        holder.execute(f"lock table {MART} in access share mode".encode())
        run = threading.Thread(target=production.run, args=("Swap", 0))
        run.start()
        ends = time.monotonic() + 60
        while not sight.waits.get(CONTROL) and time.monotonic() < ends:
            time.sleep(0.02)
        holder.rollback()
        run.join()
    samples.add("control_waits_seen", sight.waits.get(CONTROL, 0))


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed or a preview left something."""
    parser = argparse.ArgumentParser(description="Measures production runs beside previews.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--previews", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2, help="previews at a time")
    chosen = parser.parse_args()
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = f"make bench-previews-beside ROWS={chosen.rows} RUNS={chosen.runs} PREVIEWS={chosen.previews}"
    samples = Samples("previews-beside-runs", started, command)
    state = STATE / "previews-beside-runs"
    state.mkdir(parents=True, exist_ok=True)
    with warehouse(state) as server:
        here, elsewhere = (
            Bench(state / name, {"swap": new_side(server, name, SOURCE.format(rows=chosen.rows))}) for name in ("here", "elsewhere")
        )
        for bench in (here, elsewhere):
            bench.write()
            bench.parse()
            bench.run("Swap", 0)
        control(here, samples)
        spread = Spread(chosen.runs, chosen.previews, chosen.workers, chosen.rows // 100)
        say(f"{chosen.runs} runs alone")
        for number in range(chosen.runs):
            samples.add("alone_seconds", _seconds(here, number))
        for name, previewed in (("elsewhere", elsewhere), ("beside", here)):
            say(f"{chosen.runs} runs beside {chosen.previews} previews: {name}")
            with watched(here.sides["swap"].dsn) as sight:
                spread.beside(here, previewed, samples, name)
            samples.add(f"{name}_looks", sight.looks)
            samples.add(f"{name}_waits_for_previews", sight.waits.get(PREVIEW, 0))
            samples.notes += [f"{name}: seen waiting for {kind}: {count}" for kind, count in sorted(sight.waits.items())]
        for bench in (here, elsewhere):
            samples.add("schemas_left", schemas_left(bench.sides["swap"].dsn))
        server.stop("fast")
    samples.versions |= {name: version(name) for name in ("dbt-core", "dbt-postgres", "refresh-runner")}
    samples.versions["python"] = sys.version.split()[0]
    samples.counts |= {"cores": os.cpu_count() or 0, "rows": chosen.rows, "workers": chosen.workers}
    path = samples.store(RESULTS)
    say(f"stored in {path.name}")
    return judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
