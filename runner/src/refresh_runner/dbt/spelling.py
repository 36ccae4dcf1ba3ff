"""The marts of a refresh, as PostgreSQL has their names: a refresh may spell them as its dbt project does, where that quotes no names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.steps import MartCheck, ValidationStep
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection


def by_project(plan: Plan, dbt: Dbt) -> Plan:
    """Return a plan with its marts as the dbt project's models are named in PostgreSQL; others stay as they are."""
    known, spelled = dbt.graph.known(), dbt.graph.by_spelling()
    return _spelled(plan, lambda check: None if check.relation in known else spelled.get(check.relation))


def by_catalog(plan: Plan, warehouse: WarehouseConnection) -> Plan:
    """Return a plan with its marts as they are in PostgreSQL: one that is not there by its spelling may be there in lower case."""
    folded = {check.relation: _folded(check) for check in plan.marts}
    missing = warehouse.missing_relations([Relation(check.schema, check.table) for check in plan.marts])
    wanted = {name: each for name, each in folded.items() if Relation(*name.split(".", 1)) in missing}
    gone = warehouse.missing_relations([relation for each in wanted.values() for relation in each]) if wanted else set()
    found = {name: next((relation for relation in each if relation not in gone), None) for name, each in wanted.items()}
    return _spelled(plan, lambda check: found.get(check.relation))


def _folded(check: MartCheck) -> list[Relation]:
    schema, table = check.schema.lower(), check.table.lower()
    return [Relation(check.schema, table), Relation(schema, check.table), Relation(schema, table)]


def _spelled(plan: Plan, where: Callable[[MartCheck], Relation | None]) -> Plan:
    def named(check: MartCheck) -> MartCheck:
        relation = where(check)
        return check if relation is None else replace(check, schema=relation.schema, table=relation.table)

    steps = (replace(step, marts=tuple(map(named, step.marts))) if isinstance(step, ValidationStep) else step for step in plan.steps)
    return replace(plan, steps=tuple(steps))
