"""The rows of two runs that are compared, and the queries that select them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

PAIRS_READ: Final = 20_000
"""Nodes of two runs that are compared."""


@dataclass(frozen=True)
class ComparedRunRow:
    """A run, with what it was built from."""

    run: str
    mode: str
    outcome: str | None
    generation: int
    marts: str | None
    started_at: datetime
    ended_at: datetime | None
    variables: Mapping[str, object] | None
    """The variables of the run. Their values are compared, and never shown."""
    project: str | None
    revision: str | None


@dataclass(frozen=True)
class NodePairRow:
    """A node in two runs; without a state in one that has not executed it."""

    node_id: str
    node: str
    state_before: str | None
    state_after: str | None
    seconds_before: float | None
    seconds_after: float | None


@dataclass(frozen=True)
class MartPairRow:
    """A mart after two runs; without a verdict in one that has not validated it."""

    relation: str
    verdict_before: str | None
    verdict_after: str | None
    rows_before: int | None
    rows_after: int | None


@dataclass(frozen=True)
class ComparisonRows:
    """The rows of two runs."""

    before: ComparedRunRow
    after: ComparedRunRow
    nodes: tuple[NodePairRow, ...] = ()
    marts: tuple[MartPairRow, ...] = ()


LAST_RUN: Final = """select run_id from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s and outcome is distinct from 'Skipped' order by started_at desc limit 1"""
PREVIOUS_RUN: Final = """select run_id from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s and outcome is distinct from 'Skipped'
    and started_at < (select started_at from dbt_refresh_run where run_id = %(run)s) order by started_at desc limit 1"""
COMPARED_RUNS: Final = """select run.* from (select null::text as revision, null::text as project, null::jsonb as vars) as absent
    cross join lateral (select run_id, mode, outcome, generation, marts, started_at, ended_at, vars, project, revision from dbt_refresh_run
        where namespace = %(namespace)s and refresh = %(refresh)s and run_id = any(%(runs)s)) as run"""
"""A run log of an older runner lacks some columns, as in models.py."""
NODE_PAIRS: Final = f"""
    select node_id, coalesce(after.node, before.node), before.state, after.state, before.seconds, after.seconds
    from (select node_id, node, state, seconds from dbt_refresh_node where run_id = %(before)s) as before
    full join (select node_id, node, state, seconds from dbt_refresh_node where run_id = %(after)s) as after using (node_id)
    order by node_id limit {PAIRS_READ}"""  # noqa: S608 - constants
MART_PAIRS: Final = f"""
    select relation, before.verdict, after.verdict, before.rows, after.rows
    from (select relation, verdict, rows from dbt_refresh_mart where run_id = %(before)s) as before
    full join (select relation, verdict, rows from dbt_refresh_mart where run_id = %(after)s) as after using (relation)
    order by relation limit {PAIRS_READ}"""  # noqa: S608 - constants
