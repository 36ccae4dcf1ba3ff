"""What dbt does slowly, done quickly: selecting nodes without a command of its own, and commands that do not walk their stack.

Each command of dbt costs a quarter of a second of processor time before it begins, so a run has only those that touch the warehouse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refresh_runner.plan import Selection
from refresh_runner.steps import Node

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


def selected(manifest: Manifest, selection: Selection, kind: str) -> tuple[Node, ...]:
    """Return the nodes of a kind (model, test) as `dbt list` would, in order of their names.

    Takes the flags of the command before, so parse first. Raises dbt's own exception for a selector that takes nothing.
    """
    from dbt.artifacts.resources.types import NodeType
    from dbt.compilation import Linker
    from dbt.graph.cli import parse_difference
    from dbt.graph.graph import Graph
    from dbt.graph.selector import ResourceTypeSelector

    linker = Linker()
    linker.link_graph(manifest)
    selector = ResourceTypeSelector(Graph(linker.graph), manifest, None, [NodeType(kind)], include_empty_nodes=True)
    ids = selector.get_selected(parse_difference(list(selection.select), list(selection.exclude) or None))
    return tuple(Node(id_, manifest.nodes[id_].name, "fqn:" + ".".join(manifest.nodes[id_].fqn)) for id_ in sorted(ids))


def spare_stack_walks() -> None:
    """Have dbt label its behaviour flags without looking at every frame of the stack, which it does 34 times a command.

    The label is the module that defines a flag, for a notice that we do not print; the walks were half of a command's own time.
    """
    from dbt_common.behavior_flags import BehaviorFlagRendered

    for name in ("_default_source",):
        setattr(BehaviorFlagRendered, name, staticmethod(lambda: "dbt"))
