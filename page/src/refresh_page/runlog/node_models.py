"""The rows of one node over the runs of its refresh, and the queries that select them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from refresh_page.runlog.models import MAX_MESSAGE

RUNS_SEARCHED: Final = 500
"""Runs of a refresh in which a node is searched, newest first. Skipped runs count, and have no nodes."""
NODE_RUNS_SHOWN: Final = 60
"""Runs that the page of a node lists."""
NEIGHBOURS_SHOWN: Final = 200
"""Nodes that a node reads or that read it."""


@dataclass(frozen=True)
class NodeRunRow:
    """A node in one run."""

    run: str
    outcome: str | None
    started_at: datetime
    revision: str | None
    project: str | None
    node: str
    step: str
    state: str
    seconds: float | None
    sqlstate: str | None
    message: str | None
    rows: int | None
    """Rows that dbt has written; None if it does not know, and in the run log of an older runner."""
    parents: list[str] | None
    """IDs of what a model reads; None for a test, and in the run log of an older runner."""


@dataclass(frozen=True)
class NeighbourRow:
    """A node of the same run, which a node reads or which reads it."""

    node_id: str
    node: str
    state: str
    is_reader: bool


@dataclass(frozen=True)
class NodeMartRow:
    """The result of validating the table of a node in one run."""

    run: str
    rows: int | None
    verdict: str


@dataclass(frozen=True)
class NodeRows:
    """What surrounds a node."""

    neighbours: tuple[NeighbourRow, ...] = ()
    """Of its last run."""
    marts: tuple[NodeMartRow, ...] = ()
    """Of its last runs."""


NODE_RUNS: Final = f"""
    select run.run_id, run.outcome, run.started_at, run.revision, run.project, node.*
    from (select null::text as revision, null::text as project, null::bigint as rows, null::jsonb as parents) as absent
    cross join lateral (select run_id, outcome, started_at, revision, project from dbt_refresh_run
        where namespace = %(namespace)s and refresh = %(refresh)s order by started_at desc limit {RUNS_SEARCHED}) as run
    cross join lateral (select node, step, state, seconds, sqlstate, left(message, {MAX_MESSAGE}), rows, parents
        from dbt_refresh_node where run_id = run.run_id and node_id = %(node)s) as node
    order by run.started_at desc limit {NODE_RUNS_SHOWN}"""  # noqa: S608 - constants
"""The primary key of dbt_refresh_node finds the node of each run. A run log of an older runner lacks some columns, as in models.py."""
NODE_MARTS: Final = """select run_id, rows, verdict from dbt_refresh_mart
    where run_id = any(%(runs)s) and relation = %(relation)s"""
NEIGHBOURS: Final = f"""
    select node_id, node, state, parents is not null and parents ? %(node)s from dbt_refresh_node
    where run_id = %(run)s and (node_id = any(%(ids)s) or parents ? %(node)s) order by node, node_id limit {NEIGHBOURS_SHOWN}"""  # noqa: S608 - constants


def strings(value: object) -> list[str]:
    """Return the texts in a list from the run log, where a damaged row may have any JSON."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
