"""The results of the tests of a refresh over its last runs, and the queries that select them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

VERDICT_RUNS: Final = 30
"""Runs of a refresh over which the results of its tests are shown."""
TESTS_READ: Final = 5000
"""Tests of a refresh that are read."""


@dataclass(frozen=True)
class VerdictRunRow:
    """A run that may have executed tests."""

    run: str
    started_at: datetime


@dataclass(frozen=True)
class VerdictRow:
    """A test over these runs."""

    node_id: str
    node: str
    runs: list[str]
    """The runs that have executed it."""
    states: list[str]
    """Its state in each of them."""


@dataclass(frozen=True)
class VerdictRows:
    """The tests of a refresh."""

    runs: tuple[VerdictRunRow, ...] = ()
    """Newest first."""
    tests: tuple[VerdictRow, ...] = ()


RUNS: Final = f"""select run_id, started_at from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s and outcome is distinct from 'Skipped'
    order by started_at desc limit {VERDICT_RUNS}"""  # noqa: S608 - constants
TESTS: Final = f"""select node_id, min(node), array_agg(run_id), array_agg(state) from dbt_refresh_node
    where run_id = any(%(runs)s) and split_part(node_id, '.', 1) in ('test', 'unit_test')
    group by node_id order by node_id limit {TESTS_READ}"""  # noqa: S608 - constants
