"""Checks before the first step: resolves each step to its nodes, and finds missing privileges and relations."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.dbt import spelling
from refresh_runner.dbt.graph import Upstream
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import CacheStep, LayerStep, SourcesStep, TestsStep, ValidationStep
from refresh_runner.postgres import privileges
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.data_version import TrackedRelations
from refresh_runner.postgres.privileges import Privilege
from refresh_runner.publish.derived_names import live_relations
from refresh_runner.publish.publisher import MartPublisher
from refresh_runner.publish.staged_tables import check_names
from refresh_runner.run import required_privileges
from refresh_runner.run.model_selection import model_selection
from refresh_runner.runlog.resume import ResumeState, reusable_nodes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan with the nodes of each step."""

    nodes: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    """Models, tests or sources, by step."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """The skipped steps, each with the reason."""
    exposure_endpoints: Mapping[Relation, tuple[str, ...]] = field(default_factory=dict)
    """Endpoints that the project's exposures declare, by mart, if the run calls them."""
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The IDs of what each model reads, by its own ID."""
    reusable: frozenset[str] = frozenset()
    """IDs of models that earlier attempts have built, so that they need not be built again."""
    tracked: TrackedRelations = field(default_factory=TrackedRelations)
    """What the run reads and builds, if change detection needs it."""
    plan: Plan | None = None
    """The plan with the marts' names in PostgreSQL's spelling."""


@dataclass(frozen=True)
class Preflight:
    """Checks a plan against the dbt project and the warehouse."""

    plan: Plan
    dbt: Dbt
    warehouse: WarehouseConnection

    def parse(self) -> None:
        """Parse the dbt project, if the run needs it. Raise RunFailedError if dbt cannot parse it."""
        if self.plan.policy.needs_dbt:
            self.dbt.parse()

    def check(self, marts: MartPublisher, earlier: ResumeState) -> ResolvedPlan:
        """Return the resolved plan, and redirect the marts to their staging relations. Call it after `parse`.

        Raise RunFailedError if the run cannot succeed.
        """
        plan = spelling.by_project(self.plan, self.dbt) if self.plan.policy.needs_dbt else spelling.by_catalog(self.plan, self.warehouse)
        return replace(replace(self, plan=plan)._check(marts, earlier), plan=plan)

    def _check(self, marts: MartPublisher, earlier: ResumeState) -> ResolvedPlan:
        resolved = self._resolve(marts) if self.plan.policy.needs_dbt else ResolvedPlan(skipped=self.plan.policy.skipped_steps)
        layers = [resolved.nodes[layer.name] for layer in self.plan.layers if resolved.nodes.get(layer.name)]
        models = [node for layer in layers for node in layer]
        self.check_privileges(
            required_privileges.of_run(self.plan, self.dbt, models, resolved.nodes.get("tests", ()), marts.staged_relations)
        )
        # Leftovers are dropped first, so that a model is not reused if its table is missing or belongs to others.
        marts.prepare_staging(earlier.nodes)
        reusable = self._reusable(earlier, layers)
        marts.prepare_staging(reusable)
        if not self.plan.policy.records_inputs:
            return replace(resolved, reusable=reusable)
        outputs = live_relations(self.dbt.graph.relations(models).values(), marts.staged_relations)
        outputs += [Relation(check.schema, check.table) for check in self.plan.marts]
        return replace(
            resolved, reusable=reusable, tracked=self.dbt.graph.tracked([*models, *resolved.nodes.get("tests", ())], models, outputs)
        )

    def check_privileges(self, wanted: Iterable[Privilege]) -> None:
        """Raise RunFailedError for missing privileges before anything is changed."""
        with self.warehouse.session() as connection:
            privileges.check(connection, wanted)

    def _resolve(self, marts: MartPublisher) -> ResolvedPlan:
        plan, dbt = self.plan, self.dbt
        chosen = model_selection(plan, dbt)
        nodes: dict[str, tuple[Node, ...]] = {}
        ours: list[Node] = []
        steps = [step for step in plan.steps if step.name not in plan.policy.skipped_steps]
        # Before the marts are redirected to staging relations: exposures refer to the live ones.
        exposing = any(isinstance(step, CacheStep) and step.from_exposures for step in plan.steps)
        exposed = dbt.graph.endpoints(Relation(check.schema, check.table) for check in plan.marts) if exposing else {}
        for step in steps:
            try:
                if isinstance(step, LayerStep):
                    nodes[step.name] = chosen.of(dbt.graph.buildable(step.selection))
                    ours += nodes[step.name]
                    check_names(dbt, ours)
                    self._check_upstream(step.name, nodes[step.name], ours)
                elif isinstance(step, TestsStep):
                    nodes[step.name] = dbt.graph.tests(step.selection)
                elif isinstance(step, ValidationStep):
                    marts.stage(dbt, ours, step.marts)
            except RunFailedError as error:
                raise RunFailedError(error.failure, step.name) from error
        for step in steps:
            if isinstance(step, SourcesStep):
                nodes[step.name] = dbt.graph.sources(ours, may_be_none=chosen.is_restricted)
        without = {name: chosen.skip_reason for name, taken in nodes.items() if not taken}
        return ResolvedPlan(nodes, plan.policy.skipped_steps | without, exposed, dbt.graph.parents(ours))

    def _check_upstream(self, name: str, models: Sequence[Node], ours: Sequence[Node]) -> None:
        upstream = self.dbt.graph.upstream(models, ours)
        missing = missing_relations(upstream, self.warehouse)
        for model in upstream:
            if model.relation in missing:
                what = f"run `{model.built_by}` once, the refresh that builds it" if model.built_by else "add it to a layer before"
                message = f"{model.needed_by} needs {model.relation}, which is not in the warehouse: {what}"
                raise RunFailedError(Failure(Reason.LAYER_FAILED, f"{self.plan.label(name)}: {message}", hint=what))

    def _reusable(self, earlier: ResumeState, layers: Sequence[Sequence[Node]]) -> frozenset[str]:
        if earlier.restart_reason:
            log.info("rebuilding all models: %s", earlier.restart_reason)
        if not earlier.nodes:
            return frozenset()
        places = self.dbt.graph.relations([node for layer in layers for node in layer if node.id in earlier.nodes])
        missing = self.warehouse.missing_relations(places.values())
        # A function is quick to recreate, and its existence has not been checked.
        functions = self.dbt.graph.function_relations([node for layer in layers for node in layer])
        return reusable_nodes(layers, earlier.nodes - functions.keys(), {id_ for id_, place in places.items() if place in missing})


def missing_relations(upstream: Sequence[Upstream], warehouse: WarehouseConnection) -> set[Relation]:
    """Return the models and functions of other refreshes that do not exist."""
    missing = warehouse.missing_relations(model.relation for model in upstream if not model.is_function)
    return missing | warehouse.missing_functions(model.relation for model in upstream if model.is_function)
