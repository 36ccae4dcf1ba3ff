"""Nodes of a parsed project by their IDs, and what they read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import FunctionNode, ManifestNode, UnitTestDefinition

    AnyNode = ManifestNode | FunctionNode | UnitTestDefinition


def functions_of(manifest: Manifest) -> Mapping[str, FunctionNode]:
    """Return the project's functions by ID; dbt-core before 1.11 has none."""
    found: Mapping[str, FunctionNode] = getattr(manifest, "functions", {})
    return found


def node_of(manifest: Manifest, id_: str) -> AnyNode:
    """Return the node that dbt builds or tests under this ID; KeyError if there is none."""
    if function := functions_of(manifest).get(id_):
        return function
    return manifest.unit_tests[id_] if id_ in manifest.unit_tests else manifest.nodes[id_]


def is_ephemeral(node: AnyNode) -> bool:
    """Return whether a node is an ephemeral model, which becomes part of the models that read it."""
    return bool(node.is_ephemeral_model)


def parents(manifest: Manifest, node: AnyNode) -> set[str]:
    """Return the IDs of the nodes that a node reads in the warehouse, directly or through ephemeral models."""
    found: set[str] = set()
    for id_ in node.depends_on_nodes:
        parent = manifest.nodes.get(id_)
        found |= parents(manifest, parent) if parent is not None and is_ephemeral(parent) else {id_}
    return found


@contextmanager
def restoring_foreign_keys(nodes: Iterable[ManifestNode]) -> Iterator[None]:
    """Restore the targets of the contracts' foreign keys afterwards: dbt overwrites them with the relations that they resolve to."""
    from dbt.contracts.graph.nodes import ModelNode

    constraints = [constraint for node in nodes if isinstance(node, ModelNode) for constraint in node.all_constraints]
    before = [(constraint, constraint.to) for constraint in constraints]
    try:
        yield
    finally:
        for constraint, to in before:
            constraint.to = to
