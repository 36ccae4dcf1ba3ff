"""What dbt built and tested in a run, and from what, by relation in the warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from refresh_runner.dbt.graph import ProjectGraph
from refresh_runner.dbt.patches.node_reuse import REUSED
from refresh_runner.dbt.results import rows_written
from refresh_runner.dbt.timings import moment
from refresh_runner.model.step_results import Node
from refresh_runner.postgres.catalog import Relation

_VERDICTS: Final = {"pass": True, "warn": False, "fail": False}
"""Whether a test's assertion holds, by its status; a test with another one could not be executed."""


@dataclass(frozen=True)
class BuiltNode:
    """A model, seed or snapshot that dbt has tried to build."""

    relation: Relation
    reads: tuple[Relation, ...]
    started: datetime
    ended: datetime
    succeeded: bool
    is_staged: bool
    """Whether it was built in a staging schema, to be published later; `relation` is its live name."""
    rows: int | None
    """Number of rows written; None if dbt does not know it, as for a view."""
    description: str
    columns: Mapping[str, str]
    """Descriptions of columns, by name."""


@dataclass(frozen=True)
class Assertion:
    """The result of a data test about a relation."""

    relation: Relation
    kind: str
    """Name of the generic test, such as unique; custom_sql for a singular one."""
    name: str
    column: str | None
    succeeded: bool
    severity: str


@dataclass(frozen=True)
class ProjectLineage:
    """What dbt built and tested in a run."""

    nodes: tuple[BuiltNode, ...] = ()
    assertions: tuple[Assertion, ...] = ()


def built_nodes(graph: ProjectGraph, results: Mapping[str, Any], staged: frozenset[str]) -> Iterator[BuiltNode]:
    """Yield the nodes of run_results.json that have a relation, in the order in which dbt built them."""
    for result in results["results"]:
        id_ = str(result["unique_id"])
        found = graph.manifest.nodes.get(id_)
        times = [each for each in result["timing"] if each["name"] == "execute" and each["completed_at"]]
        was_built = times and result["message"] != REUSED
        if found is None or not was_built or str(found.resource_type) not in ("model", "seed", "snapshot"):
            continue
        node = Node(id_, found.name)
        relation = graph.relations([node]).get(id_)
        if relation is None:
            continue
        yield BuiltNode(
            relation=relation,
            reads=tuple(sorted(graph.reads([node]), key=str)),
            started=moment(times[0]["started_at"]),
            ended=moment(times[0]["completed_at"]),
            succeeded=str(result["status"]) == "success",
            is_staged=id_ in staged,
            rows=rows_written(result["adapter_response"]),
            description=found.description,
            columns={name: column.description for name, column in found.columns.items() if column.description},
        )


def assertions(graph: ProjectGraph, results: Mapping[str, Any]) -> Iterator[Assertion]:
    """Yield the results of data tests, for each relation that they read; a test of a model only for that model."""
    from dbt.contracts.graph.nodes import GenericTestNode, SingularTestNode

    for result in results["results"]:
        id_, status = str(result["unique_id"]), str(result["status"])
        found = graph.manifest.nodes.get(id_)
        if status not in _VERDICTS or not isinstance(found, GenericTestNode | SingularTestNode):
            continue
        kind = found.test_metadata.name if isinstance(found, GenericTestNode) else "custom_sql"
        attached = found.attached_node if isinstance(found, GenericTestNode) else None
        about = graph.relations([Node(attached, attached)]).values() if attached else graph.reads([Node(id_, found.name)])
        column = found.column_name if isinstance(found, GenericTestNode) else None
        for relation in sorted(about, key=str):
            yield Assertion(relation, kind, found.name, column, _VERDICTS[status], str(found.config.severity).lower())
