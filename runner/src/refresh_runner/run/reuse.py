"""Connects the decisions about nodes (refresh_runner.reuse) to one attempt, or to a forecast: the project, the warehouse and the marts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import psycopg

from refresh_runner.dbt.engine import Candidate
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import TestsStep
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.sessions import set_config
from refresh_runner.publish.publisher import MartPublisher
from refresh_runner.reuse.evidence import Evidence, Scope
from refresh_runner.reuse.forecast import Forecast, Prospect
from refresh_runner.reuse.reuser import Reuser
from refresh_runner.run.services import Services

_LONGEST: Final = timedelta(minutes=5)
"""Maximum duration of a query that observes a relation."""


def reuser_of(plan: Plan, services: Services, marts: MartPublisher) -> Reuser | None:
    """Return what decides for each node whether it is reused; None if the refresh reuses none. Call it before marts are staged."""
    if not plan.policy.reuses_nodes:
        return None
    dbt = services.dbt

    def keep_live(candidate: Candidate) -> None:
        if candidate.relation is None:
            return
        if candidate.built_as != candidate.relation:
            dbt.unstage(candidate.id)
        marts.keep_live(candidate.relation)

    scope = _scope(plan, dbt, services.programs)
    evidence = Evidence(lambda: services.warehouse.new_connection("reuse"), scope, lambda: min(_LONGEST, services.time_left(plan)))
    reuser = Reuser(evidence, plan.attempt.run_id, keep_live)
    dbt.reuse_nodes(reuser)
    return reuser


def forecast(
    plan: Plan, dbt: Dbt, warehouse: WarehouseConnection, programs: Sequence[str], models: Sequence[Node], tests: Sequence[Node]
) -> list[Prospect]:
    """Return for each of a run's models and tests whether the run would reuse its earlier result. Change nothing in the warehouse."""

    def connect() -> psycopg.Connection:
        connection = warehouse.new_connection("reuse")
        set_config(connection, {"default_transaction_read_only": "on"})
        return connection

    evidence = Evidence(connect, _scope(plan, dbt, programs), lambda: _LONGEST, is_read_only=True)
    nodes = [*models, *tests]
    decider = Forecast(evidence, dbt.graph.inputs(nodes), dbt.graph.querying(nodes))
    dbt.reuse_nodes(decider)
    always, relations = dbt.always_built(nodes), dbt.graph.relations(models)
    for node in nodes:
        if why := always.get(node.id):
            decider.always(node, relations.get(node.id), why)
    asked, tested = ([node for node in group if node.id not in always] for group in (models, tests))
    try:
        errors = dbt.ask(asked, tested, _LONGEST)
    finally:
        evidence.connections.close()
    return [decider.prospect(node, errors.get(node.id, "dbt did not compile it")) for node in nodes]


def _scope(plan: Plan, dbt: Dbt, programs: Sequence[str]) -> Scope:
    return Scope(
        programs=programs,
        names=[*dbt.graph.known(), *dbt.graph.test_ids()],
        models=dbt.graph.built_tables(),
        reuses_verdicts=all(step.reuses_verdicts for step in plan.steps if isinstance(step, TestsStep)),
        forced=f"the run's mode is {plan.mode}" if plan.policy.builds_all else "",
    )
