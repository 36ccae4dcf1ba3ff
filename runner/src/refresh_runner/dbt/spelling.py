"""The marts of a refresh under their names in PostgreSQL: if a dbt project quotes no names, a refresh may use the project's spelling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.steps import MartCheck, ValidationStep
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection


def by_project(plan: Plan, dbt: Dbt) -> Plan:
    """Return a plan in which marts that are models of the dbt project have their names in PostgreSQL; others stay unchanged."""
    known, spelled = dbt.graph.known(), dbt.graph.by_spelling()
    return _spelled(plan, lambda check: None if check.relation in known else spelled.get(check.relation))


def by_catalog(plan: Plan, warehouse: WarehouseConnection) -> Plan:
    """Return a plan in which marts that do not exist in their spelling, but do in lower case, have the latter."""
    folded = {check.relation: _folded(check) for check in plan.marts}
    missing = warehouse.missing_relations([Relation(check.schema, check.table) for check in plan.marts])
    candidates = {name: each for name, each in folded.items() if Relation(*name.split(".", 1)) in missing}
    absent = warehouse.missing_relations([relation for each in candidates.values() for relation in each]) if candidates else set()
    spelled = {name: next((relation for relation in each if relation not in absent), None) for name, each in candidates.items()}
    return _spelled(plan, lambda check: spelled.get(check.relation))


def _folded(check: MartCheck) -> list[Relation]:
    schema, table = check.schema.lower(), check.table.lower()
    return [Relation(check.schema, table), Relation(schema, check.table), Relation(schema, table)]


def _spelled(plan: Plan, where: Callable[[MartCheck], Relation | None]) -> Plan:
    def named(check: MartCheck) -> MartCheck:
        relation = where(check)
        return check if relation is None else replace(check, schema=relation.schema, table=relation.table)

    steps = (replace(step, marts=tuple(map(named, step.marts))) if isinstance(step, ValidationStep) else step for step in plan.steps)
    return replace(plan, steps=tuple(steps))
