"""Builds the graph of a run: its models, what they read, and where each of them is drawn."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from statistics import mean
from typing import Final

from refresh_api.model import Model
from refresh_page.runlog.models import NodeRow
from refresh_page.views.node_ids import kind_of, name_of

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
    lanes: tuple[int, ...] = ()
    """The rows in which its edges pass the columns after its own, to nodes that are further to the right."""


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
    nodes = {id_: GraphNode(id=id_, name=row.node, kind=kind_of(id_), state=row.state, seconds=row.seconds) for id_, row in built.items()}
    nodes |= {id_: GraphNode(id=id_, name=name_of(id_), kind=kind_of(id_)) for id_ in read}
    places = _places(nodes, parents) if len(nodes) <= MAX_DRAWN else None
    placed = [
        node.model_copy(update={"parents": parents.get(id_, ()), **(asdict(places[id_]) if places else {})}) for id_, node in nodes.items()
    ]
    return Graph(nodes=tuple(sorted(placed, key=lambda node: (node.column, node.row, node.name, node.id))), is_drawn=places is not None)


@dataclass(frozen=True)
class _Place:
    column: int
    row: int
    lanes: tuple[int, ...]


def _places(ids: Collection[str], parents: Mapping[str, tuple[str, ...]]) -> dict[str, _Place] | None:
    """Return where each node is drawn; None if the nodes read each other in a circle."""
    children: dict[str, list[str]] = defaultdict(list)
    for id_, read in parents.items():
        for each in read:
            children[each].append(id_)
    try:
        order = [*TopologicalSorter({id_: parents.get(id_, ()) for id_ in ids}).static_order()]
    except CycleError:
        return None
    column = _columns(order, parents, children)
    length = {id_: max((column[each] for each in children[id_]), default=column[id_] + 1) - column[id_] for id_ in ids}
    row = _rows(column, length, parents)
    return {id_: _Place(column[id_], row[id_, 0], tuple(row[id_, step] for step in range(1, length[id_]))) for id_ in ids}


def _columns(order: Iterable[str], parents: Mapping[str, tuple[str, ...]], children: Mapping[str, list[str]]) -> dict[str, int]:
    """Return the column of each node: one after the last that it reads. What is not built stands right before its first reader."""
    column: dict[str, int] = {}
    for id_ in order:
        column[id_] = max((column[each] + 1 for each in parents.get(id_, ())), default=0)
    return column | {id_: min(column[each] for each in children[id_]) - 1 for id_ in column if id_ not in parents}


_Spot = tuple[str, int]
"""A node, with 0, or the place where its edges pass the column that is so many after its own."""


def _rows(column: Mapping[str, int], length: Mapping[str, int], parents: Mapping[str, tuple[str, ...]]) -> dict[_Spot, int]:
    """Return the row of each spot. Each spot is put at the mean of those that it is joined with, repeatedly."""
    columns: dict[int, list[_Spot]] = defaultdict(list)
    left: dict[_Spot, list[_Spot]] = {}
    right: dict[_Spot, list[_Spot]] = defaultdict(list)
    for id_ in sorted(column):
        left[id_, 0] = [(each, column[id_] - column[each] - 1) for each in parents.get(id_, ())]
        left |= {(id_, step): [(id_, step - 1)] for step in range(1, length[id_])}
        for step in range(length[id_]):
            columns[column[id_] + step].append((id_, step))
    for spot, joined in left.items():
        for each in joined:
            right[each].append(spot)
    row = {spot: number for found in columns.values() for number, spot in enumerate(found)}
    for sweep in range(_SWEEPS):
        beside = right if sweep % 2 else left
        for number in sorted(columns, reverse=bool(sweep % 2)):
            columns[number].sort(key=lambda spot: mean([row[each] for each in beside.get(spot, ())] or [row[spot]]))
            row |= {spot: place for place, spot in enumerate(columns[number])}
    return row
