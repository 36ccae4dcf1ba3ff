"""The OpenLineage events of a finished run; pure.

The run is a job, and so is each of its steps and each model that dbt built, with the run as their parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from pydantic import JsonValue

from refresh_api.model import in_utc, time_text
from refresh_api.status import Outcome, Run, StepState, StepStatus
from refresh_runner.dbt.lineage import Assertion, BuiltNode
from refresh_runner.postgres.catalog import Relation

Json = dict[str, JsonValue]

_SPEC: Final = "https://openlineage.io/spec"
_EVENT: Final = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_VERSIONS: Final = {
    "DataQualityAssertionsDatasetFacet": "1-1-0",
    "DatasetVersionDatasetFacet": "1-0-1",
    "DocumentationDatasetFacet": "1-1-0",
    "ErrorMessageRunFacet": "1-0-1",
    "JobTypeJobFacet": "2-0-4",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "ParentRunFacet": "1-2-0",
    "ProcessingEngineRunFacet": "1-1-1",
    "SchemaDatasetFacet": "1-2-0",
}
"""Versions of the facets' schemas."""
_ENDS: Final = {Outcome.FAILED: "FAIL", Outcome.SKIPPED: "ABORT"}
_STEP_ENDS: Final = {StepState.FAILED: "FAIL", StepState.SUCCEEDED: "COMPLETE", StepState.WARNED: "COMPLETE"}


@dataclass(frozen=True)
class DescribedRun:
    """Everything that the events of a run say."""

    namespace: str
    """Namespace of the jobs."""
    refresh: str
    run: Run
    datasets: str
    """Namespace of the datasets: the server of the warehouse."""
    database: str
    ends: Mapping[str, datetime]
    """When each step ended, by name. The status has only seconds."""
    nodes: Sequence[BuiltNode] = ()
    assertions: Sequence[Assertion] = ()
    columns: Mapping[Relation, Sequence[tuple[str, str]]] | None = None
    published: frozenset[str] = frozenset()
    """The tables that the run's version made live, as schema.name."""
    product: str = "0"
    """Version of the runner."""
    engine: str = "0"
    """Version of dbt."""
    redact: Callable[[str], str] = str

    def events(self) -> Iterator[Json]:
        """Yield all events: first those of the run, so that they arrive even if time runs out, then steps and models."""
        whole = self._job(self.refresh, "RUN", self.refresh)
        yield self._event("START", self.run.start_time, whole)
        yield self._end_of_run(whole)
        for step in self.run.steps:
            if step.state in _STEP_ENDS and step.start_time:
                yield from self._events_of_step(step)
        for node in self.nodes:
            job = self._job(f"{self.refresh}.{node.relation}", "MODEL", f"node/{node.relation}", parent=True)
            yield self._event("START", node.started, job)
            inputs = [self._dataset(each) for each in node.reads]
            yield self._event("COMPLETE" if node.succeeded else "FAIL", node.ended, job, inputs, self._outputs([node]))

    def _end_of_run(self, job: Json) -> Json:
        built = {node.relation for node in self.nodes}
        read = sorted({each for node in self.nodes for each in node.reads} - built, key=str)
        kind = _ENDS.get(self.run.outcome or Outcome.FAILED, "COMPLETE")
        facets: Json = {"processing_engine": self._facet("ProcessingEngineRunFacet", name="dbt", version=self.engine)}
        if kind == "FAIL":
            message = self.run.message or str(self.run.reason)
            facets["errorMessage"] = self._facet("ErrorMessageRunFacet", message=message, programmingLanguage="SQL")
        ended = self.run.completion_time or self.run.heartbeat_time
        return self._event(kind, ended, job, [self._dataset(each) for each in read], self._outputs(self.nodes), facets)

    def _events_of_step(self, step: StepStatus) -> Iterator[Json]:
        job = self._job(f"{self.refresh}.{step.name}", "STEP", f"step/{step.name}", parent=True)
        start = step.start_time or self.run.start_time
        yield self._event("START", start, job)
        inputs = list(self._tested()) if step.name == "tests" else []
        yield self._event(_STEP_ENDS[step.state], self.ends.get(step.name, start), job, inputs)

    def _job(self, name: str, kind: str, key: str, *, parent: bool = False) -> Json:
        """Return the parts of an event that name its job and its run."""
        facets: Json = {}
        if parent:
            parts: Json = {"run": {"runId": self._run_id(self.refresh)}, "job": {"namespace": self.namespace, "name": self.refresh}}
            facets["parent"] = self._facet("ParentRunFacet", **parts)
        job_type = self._facet("JobTypeJobFacet", processingType="BATCH", integration="DASHBOARD_REFRESH", jobType=kind)
        return {
            "run": {"runId": self._run_id(key), "facets": facets},
            "job": {"namespace": self.namespace, "name": name, "facets": {"jobType": job_type}},
        }

    def _event(
        self,
        kind: str,
        moment: datetime,
        job: Json,
        inputs: Sequence[Json] = (),
        outputs: Sequence[Json] = (),
        facets: Mapping[str, JsonValue] | None = None,
    ) -> Json:
        run = job["run"]
        if facets and isinstance(run, dict) and isinstance(run["facets"], dict):
            job = {**job, "run": {**run, "facets": {**run["facets"], **facets}}}
        head: Json = {
            "eventType": kind,
            "eventTime": in_utc(moment).isoformat(timespec="milliseconds"),
            "producer": self._producer,
            "schemaURL": _EVENT,
        }
        return {**head, **job, "inputs": [*inputs], "outputs": [*outputs]}

    def _run_id(self, key: str) -> str:
        """Return the UUID of the run, a step or a model: the same for each event about it."""
        return str(uuid5(NAMESPACE_URL, f"{self._producer}/{self.namespace}/{self.run.id}/{time_text(self.run.start_time)}/{key}"))

    def _outputs(self, nodes: Iterable[BuiltNode]) -> list[Json]:
        """Return what nodes wrote. A mart that was staged and not published is live as it was."""
        return [self._output(node) for node in nodes if node.succeeded and (self.run.version or not node.is_staged)]

    def _output(self, node: BuiltNode) -> Json:
        """Return the dataset that a node wrote, with its columns, its number of rows, and the version that readers see."""
        facets: Json = {}
        types = (self.columns or {}).get(node.relation, ())
        if types:
            facets["schema"] = self._facet("SchemaDatasetFacet", fields=[self._field(node, *each) for each in types])
        if node.description:
            facets["documentation"] = self._facet("DocumentationDatasetFacet", description=self.redact(node.description))
        if self.run.version and str(node.relation) in self.published:
            facets["version"] = self._facet("DatasetVersionDatasetFacet", datasetVersion=self.run.version)
        counted = {mart.relation: mart.rows for mart in self.run.validation}
        rows = counted.get(str(node.relation), node.rows)
        statistics: Json = {}
        if rows is not None:
            statistics["outputStatistics"] = self._facet("OutputStatisticsOutputDatasetFacet", rowCount=rows)
        return {**self._dataset(node.relation), "facets": facets, "outputFacets": statistics}

    def _field(self, node: BuiltNode, name: str, kind: str) -> Json:
        description = node.columns.get(name)
        return {"name": name, "type": kind, **({"description": self.redact(description)} if description else {})}

    def _tested(self) -> Iterator[Json]:
        """Yield the datasets that were tested, with what the tests found."""
        by_relation: dict[Relation, list[JsonValue]] = {}
        for each in self.assertions:
            found: Json = {"assertion": each.kind, "name": each.name, "success": each.succeeded, "severity": each.severity}
            by_relation.setdefault(each.relation, []).append(found | ({"column": each.column} if each.column else {}))
        for relation, assertions in by_relation.items():
            facet = self._facet("DataQualityAssertionsDatasetFacet", assertions=assertions)
            yield {**self._dataset(relation), "inputFacets": {"dataQualityAssertions": facet}}

    def _dataset(self, relation: Relation) -> Json:
        return {"namespace": self.datasets, "name": f"{self.database}.{relation}"}

    def _facet(self, name: str, /, **values: JsonValue) -> Json:
        return {"_producer": self._producer, "_schemaURL": f"{_SPEC}/facets/{_VERSIONS[name]}/{name}.json#/$defs/{name}", **values}

    @property
    def _producer(self) -> str:
        return f"https://dashboards.sigeti.io/refresh-runner/{self.product}"
