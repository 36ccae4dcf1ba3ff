"""What a dbt project says about itself, in a form that is small enough to be kept in the warehouse: descriptions, columns, exposures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from refresh_runner.core.secrets import Redactor
from refresh_runner.dbt.nodes import functions_of, parents
from refresh_runner.model.step_results import Node

if TYPE_CHECKING:
    from refresh_runner.dbt.graph import ProjectGraph

LONGEST: Final = 8 * 1024 * 1024
"""Maximum characters of a description. A longer one is stored without columns, or not at all."""
_KINDS: Final = frozenset({"model", "seed", "snapshot", "test"})
_NAMES: Final = frozenset({"unique_id", "name"})
"""Fields with names that dbt needs, which are not redacted, as in manifest.json."""


def described(graph: ProjectGraph) -> dict[str, JsonValue]:
    """Return what the project says about its nodes and exposures, by live names."""
    manifest = graph.manifest
    nodes = [node for node in manifest.nodes.values() if str(node.resource_type) in _KINDS]
    relations = graph.relations([Node(node.unique_id, node.name) for node in nodes if str(node.resource_type) != "test"])
    found = chain(nodes, manifest.unit_tests.values(), functions_of(manifest).values(), manifest.sources.values())
    return {
        "nodes": [
            {**_texts(each), "relation": str(relations.get(each.unique_id) or "") or None, "columns": list(_columns(each))}
            | {"reads": _read(graph, each)}
            for each in found
        ],
        "exposures": [
            {**_texts(each), "name": each.label or each.name, "type": str(each.type), "url": each.url, "reads": _read(graph, each)}
            | {"owner": each.owner.name, "email": _addresses(each.owner.email)}
            for each in manifest.exposures.values()
        ],
    }


def description_text(description: Mapping[str, JsonValue], redact: Redactor) -> str | None:
    """Return the redacted text of a description; None if it is too long."""
    found = redact.inside(dict(description), _NAMES)
    text = json.dumps(found)
    if len(text) > LONGEST and isinstance(found, dict):
        nodes = found["nodes"]
        for node in nodes if isinstance(nodes, list) else ():
            if isinstance(node, dict):
                node["columns"] = []
        text = json.dumps(found)
    return text if len(text) <= LONGEST else None


def _texts(node: Any) -> dict[str, JsonValue]:  # noqa: ANN401 - dbt's nodes have no common class with these fields
    return {"unique_id": str(node.unique_id), "name": str(node.name), "description": str(node.description or "")}


def _columns(node: Any) -> Iterator[JsonValue]:  # noqa: ANN401
    for column in (getattr(node, "columns", None) or {}).values():
        yield {"name": str(column.name), "type": str(column.data_type or ""), "description": str(column.description or "")}


def _read(graph: ProjectGraph, node: Any) -> list[JsonValue]:  # noqa: ANN401
    return list[JsonValue](sorted(parents(graph.manifest, node))) if hasattr(node, "depends_on_nodes") else []


def _addresses(found: str | Iterable[str] | None) -> str | None:
    return found if isinstance(found, str) or found is None else ", ".join(found)
