"""Builds the page of one node of a refresh: its last runs, what it reads and what reads it, and its SQL in one of the runs."""

from collections.abc import Iterable
from statistics import median
from typing import Final

from refresh_api.model import Model, Time
from refresh_page.kube.models import Ref, Refresh
from refresh_page.runlog.node_models import NeighbourRow, NodeRows, NodeRunRow, strings
from refresh_page.runlog.run_results import Statement
from refresh_page.views.node_ids import kind_of, name_of

BUILT: Final = frozenset({"ok", "warned"})
"""States of a node that dbt has built, or of a test that has passed."""
_NOT_EXECUTED: Final = frozenset({"reused", "skipped"})


class NodeRun(Model):
    """A node in one run."""

    run: str
    outcome: str | None = None
    """Of the run; unset while it is in progress."""
    start_time: Time
    """Of the run."""
    revision: str | None = None
    step: str
    state: str
    seconds: float | None = None
    sqlstate: str | None = None
    message: str | None = None


class Neighbour(Model):
    """A node that another one reads, or that reads it."""

    id: str
    name: str
    state: str | None = None
    """In the last run of the node; unset for what that run did not build."""


class Compiled(Model):
    """The SQL of a node in one run."""

    run: str
    sql: str | None = None
    """Unset if the run log has not kept it."""
    is_cut: bool = False
    """Whether this is only the beginning of the SQL."""


class NodeDetail(Model):
    """The page of a node."""

    namespace: str
    name: str
    """Of the refresh."""
    title: str
    id: str
    node: str
    kind: str
    """The resource type of dbt: model, seed, snapshot, test, unit_test, function or operation."""
    usual_seconds: float | None = None
    """Median of the runs that built it."""
    reused: int = 0
    """Runs that reused an earlier result."""
    runs: tuple[NodeRun, ...]
    """Newest first."""
    compiled: Compiled
    reads: tuple[Neighbour, ...] = ()
    read_by: tuple[Neighbour, ...] = ()


def run_with_sql(rows: NodeRows, wanted: str) -> str:
    """Return the run of which the page shows the SQL: the one that the address names, or else the last one that executed the node."""
    executed = (row.run for row in rows.runs if row.state not in _NOT_EXECUTED)
    return wanted or next(executed, rows.runs[0].run)


def node_detail(ref: Ref, id_: str, refresh: Refresh | None, rows: NodeRows, run: str, statement: Statement | None) -> NodeDetail:
    """Return the page of a node; `run` is the one of the statement."""
    took = [row.seconds for row in rows.runs if row.seconds is not None and row.state in BUILT]
    return NodeDetail(
        namespace=ref.namespace,
        name=ref.name,
        title=refresh.title if refresh else ref.name,
        id=id_,
        node=rows.runs[0].node,
        kind=kind_of(id_),
        usual_seconds=median(took) if took else None,
        reused=sum(row.state == "reused" for row in rows.runs),
        runs=tuple(map(_run, rows.runs)),
        compiled=Compiled(run=run, sql=statement.sql, is_cut=statement.is_cut) if statement else Compiled(run=run),
        reads=_reads(strings(rows.runs[0].parents), rows.neighbours),
        read_by=tuple(_neighbour(each) for each in rows.neighbours if each.is_reader),
    )


def _run(row: NodeRunRow) -> NodeRun:
    return NodeRun(
        run=row.run,
        outcome=row.outcome,
        start_time=row.started_at,
        revision=row.revision,
        step=row.step,
        state=row.state,
        seconds=row.seconds,
        sqlstate=row.sqlstate,
        message=row.message,
    )


def _reads(parents: Iterable[str], rows: Iterable[NeighbourRow]) -> tuple[Neighbour, ...]:
    """Return what a node reads; also what its run did not build, of which only the ID is known."""
    built = {each.node_id: _neighbour(each) for each in rows}
    found = (built.get(id_, Neighbour(id=id_, name=name_of(id_))) for id_ in parents)
    return tuple(sorted(found, key=lambda each: (each.name, each.id)))


def _neighbour(row: NeighbourRow) -> Neighbour:
    return Neighbour(id=row.node_id, name=row.node, state=row.state)
