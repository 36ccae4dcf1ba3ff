"""The nodes that dbt selectors match, and selectors that match exactly one node each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.nodes import is_ephemeral, node_of
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import Selection

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.state import PreviousState

_NOTHING: Final = "fqn:no.such.node"
"""Without any `--select`, dbt selects the whole project."""
_SYNTAX: Final = re.compile(r"[^\w.-]")
"""Characters that may have a meaning in a selector: a comma, a space, a plus sign, a wildcard."""
_SYNTAX_OR_DOT: Final = re.compile(r"[^\w-]")


def selected(manifest: Manifest, selection: Selection, kinds: Sequence[str], previous: PreviousState | None = None) -> tuple[Node, ...]:
    """Return the nodes of some kinds (model, seed, snapshot, function, test, unit_test) as `dbt list` would, sorted by id.

    Ephemeral models are left out, because dbt does not build them. `previous` is the project with which `state:` selectors compare. The
    project's flags apply, so parse first. Raise dbt's own exception for a selector that matches nothing.
    """
    from dbt.artifacts.resources.types import NodeType
    from dbt.compilation import Linker
    from dbt.graph.cli import parse_difference
    from dbt.graph.graph import Graph
    from dbt.graph.selector import ResourceTypeSelector

    # dbt-core 1.10 has no functions.
    types = [NodeType(kind) for kind in kinds if kind in set(NodeType)]
    linker = Linker()
    linker.link_graph(manifest)
    selector = ResourceTypeSelector(Graph(linker.graph), manifest, previous, types, include_empty_nodes=True)
    ids = selector.get_selected(parse_difference(list(selection.select), list(selection.exclude) or None))
    found = [node_of(manifest, id_) for id_ in sorted(ids)]
    return tuple(Node(node.unique_id, node.name) for node in found if not is_ephemeral(node))


def select_arguments(manifest: Manifest, ids: Iterable[str]) -> list[str]:
    """Return the arguments that make a dbt command select exactly these nodes or sources.

    dbt is called in this process, so the length of the arguments has no limit. `--indirect-selection empty` leaves out the tests of
    selected models.
    """
    selectors = list(_selectors(manifest, ids))
    return [*(part for each in selectors or [_NOTHING] for part in ("--select", each)), "--indirect-selection", "empty"]


def _selectors(manifest: Manifest, ids: Iterable[str]) -> Iterator[str]:
    for id_ in ids:
        if source := manifest.sources.get(id_):
            parts = (source.package_name, source.source_name, source.name)
            yield "source:" + ".".join(_SYNTAX_OR_DOT.sub("?", part) for part in parts)
        else:
            node = node_of(manifest, id_)
            # The name alone would also match the content of a folder of the same name.
            yield f"fqn:{_literal('.'.join(node.fqn))},file:{_literal(PurePath(node.original_file_path).name)}"


def _literal(name: str) -> str:
    # dbt cannot quote characters: `?` matches any single one.
    return _SYNTAX.sub("?", name)
