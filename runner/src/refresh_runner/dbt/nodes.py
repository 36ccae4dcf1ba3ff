"""Nodes of a parsed project by their ids, and what they read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import FunctionNode, ManifestNode, UnitTestDefinition

    AnyNode = ManifestNode | FunctionNode | UnitTestDefinition


def functions_of(manifest: Manifest) -> Mapping[str, FunctionNode]:
    """Return the project's functions by id; there are none before dbt-core 1.11."""
    found: Mapping[str, FunctionNode] = getattr(manifest, "functions", {})
    return found


def node_of(manifest: Manifest, id_: str) -> AnyNode:
    """Return what dbt builds or tests under this id; KeyError if there is nothing."""
    if function := functions_of(manifest).get(id_):
        return function
    return manifest.unit_tests[id_] if id_ in manifest.unit_tests else manifest.nodes[id_]


def is_ephemeral(node: AnyNode) -> bool:
    """Return whether a node is a model that becomes a part of the models that read it."""
    return bool(node.is_ephemeral_model)


def parents(manifest: Manifest, node: AnyNode) -> set[str]:
    """Return the ids of what a node reads in the warehouse, directly or through ephemeral models."""
    found: set[str] = set()
    for id_ in node.depends_on_nodes:
        parent = manifest.nodes.get(id_)
        found |= parents(manifest, parent) if parent is not None and is_ephemeral(parent) else {id_}
    return found


@contextmanager
def restoring_foreign_keys(nodes: Iterable[ManifestNode]) -> Iterator[None]:
    """Restore the targets of the contracts' foreign keys afterwards: dbt overwrites them with the relations that they mean."""
    from dbt.contracts.graph.nodes import ModelNode

    constraints = [constraint for node in nodes if isinstance(node, ModelNode) for constraint in node.all_constraints]
    before = [(constraint, constraint.to) for constraint in constraints]
    try:
        yield
    finally:
        for constraint, to in before:
            constraint.to = to
