"""`make compare`: the old flow and ours on the same data."""

import os
import subprocess
import sys
from pathlib import Path

from refresh_examples.embedded import EmbeddedPostgres
from support.old_way import differing_rows
from support.postgres import create_database, drop_database

ROOT = Path(__file__).parents[3]


def test_the_old_way_and_ours_make_the_same_marts():
    """All rows and the last log row are equal; both durations are printed."""
    environment = os.environ | {"ROWS": "300", "RUNS": "1", "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "compare.py"], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓ equal") == 4
    assert done.stdout.count("(True, 4, 'Phase 2 refresh - 4/4 marts validated')") == 2
    assert "ours takes" in done.stdout


def test_marts_that_differ_in_one_cell_or_one_row_are_seen(postgres: EmbeddedPostgres):
    """The control: equal marts are equal, a wrong cell differs on both sides, a duplicate row on one."""
    ours, theirs = (create_database(postgres, name) for name in ("notre", "leur"))
    for database in (ours, theirs):
        database.run("create table public.mart as select n, n * 2 as double from generate_series(1, 9) n")
    assert differing_rows(ours.dsn, theirs.dsn, "public.mart") == 0
    theirs.run("insert into public.mart values (1, 2)")
    assert differing_rows(ours.dsn, theirs.dsn, "public.mart") == 1
    ours.run("update public.mart set double = 0 where n = 9")
    assert differing_rows(ours.dsn, theirs.dsn, "public.mart") == 3
    drop_database(ours)
    drop_database(theirs)
