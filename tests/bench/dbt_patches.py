"""`make bench-dbt-patches`: the CPU time that each optional patch of dbt saves in a run.

The small project (seven models, three tests) runs in a separate process: with all patches, with all but one, and with none. The CPU time of
that process is compared, because it varies less than wall-clock time. Rounds alternate, and medians are compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from refresh_examples.embedded import Access, EmbeddedPostgres, remove
from refresh_runner.cli.parse import cache_project
from refresh_runner.dbt.patches.patch import SWITCH
from refresh_runner.dbt.patches.registry import OPTIONAL
from refresh_runner.model.plan import DbtSettings
from support.postgres import create_database
from support.runner_harness import RESET_SQL, write_project

_RUN = """
import sys, tempfile
from datetime import timedelta
from pathlib import Path
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.steps import Selection
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.conninfo import from_variables
import os
with tempfile.TemporaryDirectory() as folder:
    settings = DbtSettings(4, "prod", "dwh", {"as_of": "2026-02-03"})
    dbt = Dbt(Path(sys.argv[1]), Path(folder), from_variables(os.environ), settings, "bench", lambda level, line: None)
    dbt.parse()
    layers = [["stg_lignes"], ["fait_lignes", "fait_jours"], ["mart_a", "mart_b"]]
    for layer in layers:
        results = dbt.run(dbt.graph.models(Selection(tuple(layer))), timedelta(minutes=5))
        assert not results.error, results
    assert not dbt.test(dbt.graph.tests(Selection(("tag:P2",))), timedelta(minutes=5)).error
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    switches = {"": "", "all": "off", **{patch.name: f"-{patch.name}" for patch in OPTIONAL if patch.saves_ms is not None}}
    with tempfile.TemporaryDirectory(prefix="dbt-patches-") as folder:
        place = Path(folder)
        with EmbeddedPostgres.start(place / "postgres", Access(password="measured")) as server:
            database = create_database(server, "petit")
            database.run(RESET_SQL)
            project = write_project(place / "project")
            cache_project(project, DbtSettings(4, "prod", "dwh", {}), lambda _line: None)
            taken: dict[str, list[float]] = {name: [] for name in switches}
            for _ in range(runs + 1):
                for name, switch in switches.items():
                    taken[name].append(_processor_time(project, {**database.env, SWITCH: switch}))
        remove(place / "postgres")
    # The first round warms the caches of the file system.
    medians = {name: statistics.median(times[1:] or times) for name, times in taken.items()}
    print(f"{'with all patches':24} {medians['']:6.0f} ms")
    for name in list(switches)[1:]:
        print(f"{'without ' + name:24} {medians[name]:6.0f} ms  saves {medians[name] - medians['']:+5.0f} ms")


def _processor_time(project: Path, env: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", _RUN, str(project)], env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


if __name__ == "__main__":
    main()
