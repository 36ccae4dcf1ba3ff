"""Compares two runs of a refresh: their nodes, marts, project and settings."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from refresh_api.model import Model, Time
from refresh_page.kube.models import Ref, Refresh
from refresh_page.runlog.comparison_models import PAIRS_READ, ComparedRunRow, ComparisonRows, MartPairRow, NodePairRow
from refresh_page.views.node import BUILT

SLOWER_TIMES: Final = 2.0
SLOWER_SECONDS: Final = 5.0
"""A node is slower if it took more than twice as long, and more than five seconds longer; faster is the reverse."""
SHOWN: Final = 100
"""Maximum nodes of a list; the rest is counted."""
_URGENCY: Final = ("broken", "failed", "warned", "skipped", "ok", "reused")


class Setting(StrEnum):
    """What a run was built from."""

    MODE = "mode"
    GENERATION = "generation"
    """Of the spec."""
    PROJECT = "project"
    """A hash of the files of the dbt project."""
    REVISION = "revision"


class SettingChange(Model):
    """A setting in which the runs differ."""

    setting: Setting
    before: str | None = None
    after: str | None = None


class ComparedRun(Model):
    """One of the runs."""

    run: str
    outcome: str | None = None
    """Unset while the run is in progress."""
    marts: str | None = None
    start_time: Time
    seconds: float | None = None


class NodePair(Model):
    """A node in both runs."""

    id: str
    node: str
    state_before: str | None = None
    """Unset if the run has not executed it."""
    state_after: str | None = None
    seconds_before: float | None = None
    seconds_after: float | None = None


class NodeList(Model):
    """Nodes with the same difference."""

    count: int = 0
    nodes: tuple[NodePair, ...] = ()
    """The first of them."""


class MartPair(Model):
    """A mart after both runs."""

    relation: str
    verdict_before: str | None = None
    """Unset if the run has not validated it."""
    verdict_after: str | None = None
    rows_before: int | None = None
    rows_after: int | None = None

    @property
    def difference(self) -> int | None:
        """The number of rows that the later run has more; None if one of the numbers is not known."""
        return None if self.rows_before is None or self.rows_after is None else self.rows_after - self.rows_before


class Comparison(Model):
    """The page that compares two runs."""

    namespace: str
    name: str
    title: str
    before: ComparedRun
    after: ComparedRun
    settings: tuple[SettingChange, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of the variables in which the runs differ. Their values are not shown: they may be secret."""
    added: NodeList = NodeList()
    """Nodes of the later run only."""
    removed: NodeList = NodeList()
    """Nodes of the earlier run only."""
    changed: NodeList = NodeList()
    """Nodes with another result, the worst first."""
    slower: NodeList = NodeList()
    faster: NodeList = NodeList()
    alike: int = 0
    """Nodes without any of these differences."""
    marts: tuple[MartPair, ...] = ()
    is_complete: bool = True
    """Whether all nodes were compared."""


def comparison_of(ref: Ref, refresh: Refresh | None, rows: ComparisonRows) -> Comparison:
    """Return the differences between two runs of a refresh."""
    both = [each for each in rows.nodes if each.state_before is not None and each.state_after is not None]
    changed = sorted((each for each in both if each.state_before != each.state_after), key=lambda each: (_urgency(each), each.node))
    built = [each for each in both if each.state_before in BUILT and each.state_after in BUILT]
    slower = [each for each in built if _is_slower(each.seconds_before, each.seconds_after)]
    faster = [each for each in built if _is_slower(each.seconds_after, each.seconds_before)]
    different = {each.node_id for each in (*changed, *slower, *faster)}
    return Comparison(
        namespace=ref.namespace,
        name=ref.name,
        title=refresh.title if refresh else ref.name,
        before=_run(rows.before),
        after=_run(rows.after),
        settings=_settings(rows.before, rows.after),
        variables=_variables(rows.before, rows.after),
        added=_listed(each for each in rows.nodes if each.state_before is None),
        removed=_listed(each for each in rows.nodes if each.state_after is None),
        changed=_listed(changed),
        slower=_listed(sorted(slower, key=_longer, reverse=True)),
        faster=_listed(sorted(faster, key=_longer)),
        alike=len(both) - len(different),
        marts=tuple(map(_mart, rows.marts)),
        is_complete=len(rows.nodes) < PAIRS_READ,
    )


def _is_slower(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > SLOWER_TIMES * before and after - before > SLOWER_SECONDS


def _longer(row: NodePairRow) -> float:
    return (row.seconds_after or 0.0) - (row.seconds_before or 0.0)


def _urgency(row: NodePairRow) -> int:
    return _URGENCY.index(row.state_after) if row.state_after in _URGENCY else len(_URGENCY)


def _settings(before: ComparedRunRow, after: ComparedRunRow) -> tuple[SettingChange, ...]:
    pairs = {
        Setting.MODE: (before.mode, after.mode),
        Setting.GENERATION: (str(before.generation), str(after.generation)),
        Setting.REVISION: (before.revision, after.revision),
        Setting.PROJECT: (before.project, after.project),
    }
    return tuple(SettingChange(setting=name, before=old, after=new) for name, (old, new) in pairs.items() if old != new)


def _variables(before: ComparedRunRow, after: ComparedRunRow) -> tuple[str, ...]:
    # A damaged row may have any JSON here.
    old, new = (each.variables if isinstance(each.variables, dict) else {} for each in (before, after))
    missing = object()
    return tuple(sorted(name for name in {*old, *new} if old.get(name, missing) != new.get(name, missing)))


def _listed(rows: Iterable[NodePairRow]) -> NodeList:
    found = list(rows)
    return NodeList(count=len(found), nodes=tuple(map(_node, found[:SHOWN])))


def _run(row: ComparedRunRow) -> ComparedRun:
    seconds = (row.ended_at - row.started_at).total_seconds() if row.ended_at else None
    return ComparedRun(run=row.run, outcome=row.outcome, marts=row.marts, start_time=row.started_at, seconds=seconds)


def _node(row: NodePairRow) -> NodePair:
    return NodePair(
        id=row.node_id,
        node=row.node,
        state_before=row.state_before,
        state_after=row.state_after,
        seconds_before=row.seconds_before,
        seconds_after=row.seconds_after,
    )


def _mart(row: MartPairRow) -> MartPair:
    return MartPair(
        relation=row.relation,
        verdict_before=row.verdict_before,
        verdict_after=row.verdict_after,
        rows_before=row.rows_before,
        rows_after=row.rows_after,
    )
