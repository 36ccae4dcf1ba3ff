"""Privileges that a run needs in the warehouse, derived from its plan and the dbt project."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import psycopg

from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import CacheStep, MartCheck
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.own_tables import Table
from refresh_runner.postgres.privileges import Privilege, PrivilegeKind
from refresh_runner.publish.derived_names import live_relations, previous_relation, staging_relation
from refresh_runner.publish.own_relations import TABLE as RELATION
from refresh_runner.publish.versions import TABLE as VERSION
from refresh_runner.reuse.results import TABLE as RESULT
from refresh_runner.runlog.schema import LEGACY_LOG, RUN_LOG

_TABLES: tuple[Table, ...] = (LEGACY_LOG, *RUN_LOG, VERSION, RELATION)
"""The runner's own tables that every run writes."""


def _tables(plan: Plan) -> tuple[Table, ...]:
    return (*_TABLES, RESULT) if plan.policy.reuses_nodes else _TABLES


def of_tables(plan: Plan, connection: psycopg.Connection) -> Iterator[Privilege]:
    """Yield the privileges for the runner's own tables: to write those that exist, and to create the others."""
    rows = connection.execute(
        "select name, n.nspname from unnest(%s::text[]) name left join pg_class c on c.oid = to_regclass(name)"
        " left join pg_namespace n on n.oid = c.relnamespace",
        [[table.name for table in _tables(plan)]],
    ).fetchall()
    # The first existing schema of the search path. The schema named after the role usually does not exist.
    row = connection.execute(
        "select nspname from unnest(string_to_array(replace(current_setting('search_path'), '\"$user\"', quote_ident(current_user)), ','))"
        " with ordinality as path (name, nth) join pg_namespace on quote_ident(nspname) = trim(name) order by nth limit 1"
    ).fetchone()
    first = str(row[0]) if row else "public"
    if row is None:
        yield Privilege(PrivilegeKind.SEARCH_PATH, first)
    if any(schema is None for _, schema in rows):
        yield Privilege(PrivilegeKind.USAGE, first)
        yield Privilege(PrivilegeKind.CREATE, first)
    for name, schema in rows:
        if schema is not None:
            yield Privilege(PrivilegeKind.WRITE, str(schema), str(name))


def of_tables_in_any_warehouse(plan: Plan, schema: str = "public") -> Iterator[Privilege]:
    """Yield the same privileges without a connection, whether or not the tables exist."""
    yield Privilege(PrivilegeKind.CREATE, schema)
    yield from (Privilege(PrivilegeKind.OWNERSHIP, schema, table.name) for table in _tables(plan))


def of_replica_wait(plan: Plan) -> Iterator[Privilege]:
    """Yield the privileges to wait for standbys. A run without them continues with a warning."""
    if any(isinstance(step, CacheStep) and step.wait_for_replicas for step in plan.steps):
        yield Privilege(PrivilegeKind.MONITOR_STANDBYS)


def of_run(plan: Plan, dbt: Dbt, models: Sequence[Node], tests: Sequence[Node], swapped: Collection[Relation]) -> Iterator[Privilege]:
    """Yield the privileges to build, test and publish.

    `models` and `tests` are those of the run. `swapped` are the marts that are built beside the live ones, whether or not they are already
    staged.
    """
    if plan.policy.reuses_nodes:
        yield Privilege(PrivilegeKind.TEMPORARY)
    places = list(dbt.graph.relations(models).values()) if models else []
    own = live_relations(places, swapped)
    if plan.policy.is_rollback:
        own = [_relation(check) for check in plan.marts]
    stored = sorted(set(dbt.graph.failure_relations(tests).values())) if tests else []
    for relation in [*own, *stored]:
        yield Privilege(PrivilegeKind.CREATE_SCHEMA, relation.schema)
        yield Privilege(PrivilegeKind.USAGE, relation.schema)
        yield Privilege(PrivilegeKind.CREATE, relation.schema)
        yield Privilege(PrivilegeKind.OWNERSHIP, relation.schema, relation.table)
    for schema in sorted({function.schema for function in dbt.graph.function_relations(models).values()}) if models else ():
        yield Privilege(PrivilegeKind.CREATE_SCHEMA, schema)
        yield Privilege(PrivilegeKind.USAGE, schema)
        yield Privilege(PrivilegeKind.CREATE, schema)
    moved = own if plan.policy.is_rollback else [mart for mart in own if mart in swapped]
    for relation in (place for mart in moved for place in (staging_relation(mart), previous_relation(mart))):
        # If an administrator has created the staging schemas, the role needs no privilege to create schemas.
        yield Privilege(PrivilegeKind.CREATE_SCHEMA, relation.schema)
        yield Privilege(PrivilegeKind.USAGE, relation.schema)
        yield Privilege(PrivilegeKind.CREATE, relation.schema)
        yield Privilege(PrivilegeKind.OWNERSHIP, relation.schema, relation.table)
    read = dbt.graph.reads([*models, *tests]) if models or tests else set()
    for relation in sorted((read | {_relation(check) for check in plan.marts}) - {*own, *places}):
        yield Privilege(PrivilegeKind.USAGE, relation.schema)
        yield Privilege(PrivilegeKind.SELECT, relation.schema, relation.table)


def _relation(check: MartCheck) -> Relation:
    return Relation(check.schema, check.table)
