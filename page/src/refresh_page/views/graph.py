"""Builds the graph of a run: its models, what they read, and where each of them is drawn."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from statistics import mean
from typing import Final

from refresh_api.model import Model
from refresh_page.runlog.models import NodeRow

MAX_DRAWN: Final = 150
"""Maximum nodes of a graph that is drawn: more would not fit on any screen."""
_SWEEPS: Final = 4
"""Passes over the layers that put nodes beside what they read, and beside what reads them."""


class GraphNode(Model):
    """A model, seed, snapshot or source."""

    id: str
    name: str
    kind: str
    """The resource type of dbt: model, seed, snapshot, source, function."""
    state: str | None = None
    """Unset for what the run reads and does not build."""
    seconds: float | None = None
    parents: tuple[str, ...] = ()
    """IDs of what it reads, as far as the graph has it."""
    column: int = 0
    """Its place when drawn: everything that it reads is to the left."""
    row: int = 0


class Graph(Model):
    """The models of a run, and what they read."""

    nodes: tuple[GraphNode, ...]
    """By column and row; by name if it is not drawn."""
    is_drawn: bool = True
    """Whether it has places: False for a graph that is too large, or whose nodes read each other in a circle."""

    @property
    def names(self) -> Mapping[str, str]:
        """The names of the nodes, by ID."""
        return {node.id: node.name for node in self.nodes}


def graph_of(rows: Iterable[NodeRow]) -> Graph | None:
    """Return the graph of a run; None if the run log has no parents of its nodes."""
    built = {row.node_id: row for row in rows if isinstance(row.parents, list)}
    if not built:
        return None
    # A damaged row may have any JSON here, and above.
    parents = {id_: tuple(sorted({each for each in row.parents or () if isinstance(each, str)})) for id_, row in built.items()}
    read = sorted({each for found in parents.values() for each in found} - built.keys())
    nodes = {id_: GraphNode(id=id_, name=row.node, kind=_kind(id_), state=row.state, seconds=row.seconds) for id_, row in built.items()}
    nodes |= {id_: GraphNode(id=id_, name=_name(id_), kind=_kind(id_)) for id_ in read}
    places = _places(nodes, parents) if len(nodes) <= MAX_DRAWN else None
    placed = [
        node.model_copy(
            update={"parents": parents.get(id_, ()), **(dict(zip(("column", "row"), places[id_], strict=True)) if places else {})}
        )
        for id_, node in nodes.items()
    ]
    return Graph(nodes=tuple(sorted(placed, key=lambda node: (node.column, node.row, node.name, node.id))), is_drawn=places is not None)


def _kind(id_: str) -> str:
    return id_.partition(".")[0]


def _name(id_: str) -> str:
    """Return the name in an ID such as `model.project.name`, `source.project.source.name` or `model.project.name.v2`."""
    return id_.split(".", 2)[-1]


def _places(ids: Collection[str], parents: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[int, int]] | None:
    """Return column and row of each node; None if the nodes read each other in a circle.

    A node is one column after the last that it reads. What is not built stands right before the first that reads it.
    """
    try:
        order = [*TopologicalSorter({id_: parents.get(id_, ()) for id_ in ids}).static_order()]
    except CycleError:
        return None
    column: dict[str, int] = {}
    children: dict[str, list[str]] = defaultdict(list)
    for id_ in order:
        column[id_] = max((column[each] + 1 for each in parents.get(id_, ())), default=0)
        for each in parents.get(id_, ()):
            children[each].append(id_)
    for id_ in order:
        if id_ not in parents:
            column[id_] = min(column[each] for each in children[id_]) - 1
    columns: dict[int, list[str]] = defaultdict(list)
    for id_ in sorted(ids):
        columns[column[id_]].append(id_)
    row = {id_: number for found in columns.values() for number, id_ in enumerate(found)}
    for sweep in range(_SWEEPS):
        beside = children if sweep % 2 else parents
        for number in sorted(columns, reverse=bool(sweep % 2)):
            columns[number].sort(key=lambda id_: mean([row[each] for each in beside.get(id_, ())] or [row[id_]]))
            row |= {id_: place for place, id_ in enumerate(columns[number])}
    return {id_: (column[id_], row[id_]) for id_ in ids}
