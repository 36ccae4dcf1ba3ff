"""Builds the page of one node of a refresh: its last runs, what it reads and what reads it, and its SQL in one of the runs."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.status import clip
from refresh_page.kube.models import Ref, Refresh
from refresh_page.runlog.models import RunLogState
from refresh_page.runlog.node_models import NEIGHBOURS_SHOWN, NodeMartRow, NodeRows, NodeRunRow, strings
from refresh_page.runlog.project import Column, Project
from refresh_page.runlog.run_results import Statement
from refresh_page.views.affected import Affected, affected_by
from refresh_page.views.node_ids import is_test, kind_of, name_of

MAX_DESCRIPTION: Final = 4000
"""Characters of a description; the rest is cut off."""
COLUMNS_SHOWN: Final = 300
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
    rows: int | None = None
    """Rows of a mart when it was validated; of another node, those that dbt has written."""
    verdict: str | None = None
    """Of a mart."""
    sqlstate: str | None = None
    message: str | None = None


class Neighbour(Model):
    """A node that another one reads, or that reads it."""

    id: str
    name: str
    state: str | None = None
    """In the last run of the node; unset for what that run did not build."""


class ColumnView(Model):
    """A column with its documentation."""

    name: str
    type: str = ""
    description: str = ""


class Compiled(Model):
    """The SQL of a node in one run."""

    run: str
    sql: str | None = None
    """Unset if the run log has not kept it."""
    is_cut: bool = False
    """Whether this is only the beginning of the SQL."""
    log_state: RunLogState = RunLogState.AVAILABLE
    """Whether the page could read what the run log has kept."""


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
    description: str = ""
    relation: str | None = None
    """Its table or view; unset if it has none, or the run log has no description of the project."""
    columns: tuple[ColumnView, ...] = ()
    usual_seconds: float | None = None
    """Median of the runs that built it."""
    reused: int = 0
    """Runs that reused an earlier result."""
    runs: tuple[NodeRun, ...]
    """Newest first."""
    compiled: Compiled
    reads: tuple[Neighbour, ...] = ()
    readers: tuple[Neighbour, ...] = ()
    tests: tuple[Neighbour, ...] = ()
    """Its tests, with their results in its last run."""
    affected: tuple[Affected, ...] = ()
    """Exposures of the dbt project that depend on it."""
    is_described: bool = False
    """Whether the run log has the description of the project: without it, tests and exposures are not known."""


def run_with_sql(runs: Sequence[NodeRunRow], wanted: str) -> str:
    """Return the run of which the page shows the SQL: the one that the address names, or else the last one that executed the node."""
    executed = (row.run for row in runs if row.state not in _NOT_EXECUTED)
    return wanted or next(executed, runs[0].run)


def neighbours_of(id_: str, last: NodeRunRow, project: Project | None) -> tuple[str, ...]:
    """Return the IDs of what a node reads and of what reads it, as far as they are known without its run."""
    if project is None or id_ not in project.by_id:
        return tuple(strings(last.parents))
    return (*project.by_id[id_].reads, *project.readers.get(id_, ()))


def node_detail(
    ref: Ref, id_: str, refresh: Refresh | None, runs: Sequence[NodeRunRow], rows: NodeRows, project: Project | None, compiled: Compiled
) -> NodeDetail:
    """Return the page of a node; `runs` are its last ones, newest first, and at least one."""
    took = [row.seconds for row in runs if row.seconds is not None and row.state in BUILT]
    node = project.by_id.get(id_) if project else None
    readers = project.readers.get(id_, ()) if node and project else [each.node_id for each in rows.neighbours if each.is_reader]
    marts = {each.run: each for each in rows.marts}
    return NodeDetail(
        namespace=ref.namespace,
        name=ref.name,
        title=refresh.title if refresh else ref.name,
        id=id_,
        node=runs[0].node,
        kind=kind_of(id_),
        description=clip(node.description, MAX_DESCRIPTION) if node else "",
        relation=node.relation if node else None,
        columns=tuple(map(_column, node.columns[:COLUMNS_SHOWN])) if node else (),
        usual_seconds=median(took) if took else None,
        reused=sum(row.state == "reused" for row in runs),
        runs=tuple(_run(row, marts.get(row.run)) for row in runs),
        compiled=compiled,
        reads=_neighbours(node.reads if node else strings(runs[0].parents), rows, project),
        readers=_neighbours((each for each in readers if not is_test(each)), rows, project),
        tests=_neighbours((each for each in readers if is_test(each)), rows, project),
        affected=affected_by(project, [id_]),
        is_described=node is not None,
    )


def compiled_of(run: str, statement: Statement | None, log_state: RunLogState = RunLogState.AVAILABLE) -> Compiled:
    """Return the SQL of a run; `statement` is None if the run log has not kept it, or could not be read."""
    if statement is None:
        return Compiled(run=run, log_state=log_state)
    return Compiled(run=run, sql=statement.sql, is_cut=statement.is_cut, log_state=log_state)


def _column(column: Column) -> ColumnView:
    return ColumnView(name=column.name, type=column.type, description=clip(column.description, MAX_DESCRIPTION))


def _run(row: NodeRunRow, mart: NodeMartRow | None) -> NodeRun:
    return NodeRun(
        run=row.run,
        outcome=row.outcome,
        start_time=row.started_at,
        revision=row.revision,
        step=row.step,
        state=row.state,
        seconds=row.seconds,
        rows=mart.rows if mart else row.rows,
        verdict=mart.verdict if mart else None,
        sqlstate=row.sqlstate,
        message=row.message,
    )


def _neighbours(ids: Iterable[str], rows: NodeRows, project: Project | None) -> tuple[Neighbour, ...]:
    """Return nodes with their results in the last run; also those that it did not build."""
    built = {each.node_id: each for each in rows.neighbours}
    described = project.by_id if project else {}
    found = [
        Neighbour(
            id=id_,
            name=built[id_].node if id_ in built else described[id_].name if id_ in described else name_of(id_),
            state=built[id_].state if id_ in built else None,
        )
        for id_ in ids
    ]
    return tuple(sorted(found, key=lambda each: (each.name, each.id))[:NEIGHBOURS_SHOWN])
