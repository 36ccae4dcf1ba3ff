"""When dbt built and tested each node of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from refresh_runner.dbt.graph import ProjectGraph
from refresh_runner.dbt.patches.node_reuse import REUSED
from refresh_runner.dbt.results import rows_written
from refresh_runner.model.step_results import Node
from refresh_runner.postgres.catalog import Relation


@dataclass(frozen=True)
class TimedNode:
    """A node that dbt has executed."""

    id: str
    kind: str
    """Its resource type, such as model or test."""
    name: str
    relation: Relation | None
    """Its live table or view; None for a test."""
    started: datetime
    ended: datetime
    status: str
    """As in run_results.json."""
    rows: int | None
    """Number of rows written; None if dbt does not know it, as for a view."""


def timed_nodes(graph: ProjectGraph, results: Mapping[str, Any]) -> Iterator[TimedNode]:
    """Yield the nodes of run_results.json that were executed, in the order in which dbt reported them."""
    for result in results["results"]:
        id_ = str(result["unique_id"])
        found = graph.manifest.nodes.get(id_)
        times = [each for each in result["timing"] if each["started_at"] and each["completed_at"]]
        if not times or result["message"] == REUSED:
            continue
        kind, _, rest = id_.partition(".")
        node = Node(id_, found.name if found else rest.rpartition(".")[2])
        yield TimedNode(
            id=id_,
            kind=kind,
            name=node.name,
            relation=graph.relations([node]).get(id_) if kind in ("model", "seed", "snapshot") else None,
            started=min(moment(each["started_at"]) for each in times),
            ended=max(moment(each["completed_at"]) for each in times),
            status=str(result["status"]),
            rows=rows_written(result["adapter_response"]),
        )


def moment(value: object) -> datetime:
    """Return a time in dbt's results, which is in UTC and may not say so."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
