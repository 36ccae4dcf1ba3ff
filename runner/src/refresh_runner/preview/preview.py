"""Builds what a change of the dbt project touches, in schemas of its own, and compares it with what is live. Readers see nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node, NodeResult, NodeState
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection, first_line, short_transaction
from refresh_runner.preview.comparison import TableComparison, compare
from refresh_runner.publish import own_relations
from refresh_runner.publish.derived_names import derive_name
from refresh_runner.publish.own_relations import RelationOrigin

_log = logging.getLogger(__name__)
_SNAPSHOT: Final = "snapshot"
_GOOD: Final = frozenset({NodeState.OK, NodeState.WARNED})
_INCREMENTAL: Final = "incremental"
_OUTSIDE: Final = """
    select distinct pg_describe_object('pg_class'::regclass, v.oid, 0) from pg_depend d
    join pg_class c on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    left join pg_constraint f on d.classid = 'pg_constraint'::regclass and f.oid = d.objid
    left join pg_class v on v.oid = coalesce(r.ev_class, f.conrelid, case when d.classid = 'pg_class'::regclass then d.objid end)
    where n.nspname = any(%(schemas)s) and d.deptype in ('n', 'a') and v.oid is not null
    and v.relnamespace <> all (select oid from pg_namespace where nspname = any(%(schemas)s))"""
"""What outside of these schemas depends on something in them, such as the view of somebody who has looked at a preview."""


_LEFT: Final = """
    select nspname from pg_namespace n join dbt_refresh_relation own on own.kind = 'schema' and own.oid = n.oid::bigint
    where own.refresh = %(refresh)s and own.run_id like 'preview-%%'
    and not exists (select from pg_stat_activity where application_name = own.run_id and datname = current_database()) order by 1"""


@dataclass(frozen=True)
class Preview:
    """What a change would do."""

    built: tuple[NodeResult, ...]
    """The models that the change touches, as they were built."""
    tests: tuple[NodeResult, ...]
    """The tests of these models, on what was built."""
    comparisons: tuple[TableComparison, ...]
    """The marts among them, or all tables and views if the refresh validates no marts."""
    removed: tuple[str, ...] = ()
    """Models that the change removes; their tables stay as they are."""
    left_out: tuple[str, ...] = ()
    """What the preview cannot show, each with the reason."""

    @property
    def differs(self) -> bool:
        """Whether readers would see anything different."""
        return any(each.differs for each in self.comparisons)


@dataclass
class Previewer:
    """One preview: a plan, the changed project, the project that is live, and a warehouse."""

    plan: Plan
    new: Dbt
    base: Dbt
    warehouse: WarehouseConnection
    id: str
    """In the names of the preview's schemas."""
    _schemas: dict[str, str] = field(default_factory=dict)
    """The preview's schemas, by those of the models as the project spells them."""

    def run(self, limit: timedelta) -> Preview:
        """Build, test and compare, and drop what was built; RunFailedError if a model cannot be built."""
        graph = self.new.graph
        models = [model for layer in self.plan.layers for model in graph.buildable(layer.selection)]
        known = {model.id for layer in self.plan.layers for model in self.base.graph.models(layer.selection)}
        modified = graph.modified(self.base.graph)
        kinds = graph.materializations(models)
        touched = [model for model in dict.fromkeys(models) if model.id in modified]
        chosen = [model for model in touched if kinds.get(model.id, _SNAPSHOT) != _SNAPSHOT]
        left_out = [f"{model.name} is a snapshot or a function, which a preview does not build" for model in touched if model not in chosen]
        removed = tuple(sorted(id_.split(".")[-1] for id_ in known - {model.id for model in models}))
        if not chosen:
            return Preview((), (), (), removed, tuple(left_out))
        live = graph.relations(chosen)
        schema_names = {graph.manifest.nodes[model.id].schema for model in chosen}
        self._schemas = {schema: derive_name(schema, f"__preview_{self.id}") for schema in sorted(schema_names)}
        try:
            return self._built(chosen, live, kinds, removed, left_out, limit)
        finally:
            # those of dbt, which may still be building
            self.warehouse.terminate_own_sessions()
            self._drop()

    def _built(
        self,
        chosen: Sequence[Node],
        live: Mapping[str, Relation],
        kinds: Mapping[str, str],
        removed: tuple[str, ...],
        left_out: Sequence[str],
        limit: timedelta,
    ) -> Preview:
        self._create_schemas()
        hooks = self.new.stage_for_preview(chosen, self._schemas)
        there = self.new.graph.relations(chosen)
        self._copy_incremental([(live[model.id], there[model.id]) for model in chosen if kinds[model.id] == _INCREMENTAL])
        built = self.new.run(chosen, limit)
        bad = [f"{result.node.name}: {result.message}" for result in built.nodes if result.state not in _GOOD]
        if built.error or bad:
            message = "; ".join(bad) or (built.error.message if built.error else "")
            raise RunFailedError(Failure(Reason.LAYER_FAILED, f"the change cannot be built: {message}"))
        tests = self.new.graph.tests_of(chosen)
        tested = self.new.test(tests, limit).nodes if tests else ()
        comparisons = tuple(self._comparisons(chosen, live, there))
        notes = [*left_out, *(f"hook not run: {hook}" for hook in hooks)]
        return Preview(tuple(built.nodes), tuple(tested), comparisons, removed, tuple(notes))

    def _comparisons(self, chosen: Sequence[Node], live: Mapping[str, Relation], there: Mapping[str, Relation]) -> list[TableComparison]:
        marts = {Relation(mart.schema, mart.table): mart.unique_key for mart in self.plan.marts}
        wanted = [model for model in chosen if model.id in live and (not marts or live[model.id] in marts)]
        found = []
        with self.warehouse.session() as connection:
            for model in wanted:
                key = marts.get(live[model.id]) or self.new.graph.own_key(model.id)
                found.append(compare(connection, live[model.id], there[model.id], key))
        return found

    def _create_schemas(self) -> None:
        origin = RelationOrigin(self.plan.run_request.refresh.name, f"preview-{self.id}")
        with self.warehouse.session() as connection:
            own_relations.prepare(connection)
            try:
                with short_transaction(connection):
                    for schema in self._schemas.values():
                        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
                        own_relations.register_schema(connection, schema, origin)
            except psycopg.errors.InsufficientPrivilege as error:
                message = f"cannot create the schemas of the preview: {first_line(error)}"
                hint = "a preview needs the privilege CREATE on the database"
                raise RunFailedError(Failure(Reason.PRIVILEGE_MISSING, message, hint=hint)) from error

    def _copy_incremental(self, pairs: Sequence[tuple[Relation, Relation]]) -> None:
        """Copy the live tables of incremental models, so that they are built on what is there."""
        with self.warehouse.session() as connection:
            for live, there in pairs:
                if connection.execute("select to_regclass(%s)", [live.sql.as_string(connection)]).fetchone() != (None,):
                    statement = sql.SQL("create table {there} (like {live} including all); insert into {there} select * from {live}")
                    connection.execute(statement.format(there=there.sql, live=live.sql))

    def _drop(self) -> None:
        """Drop the preview's schemas; what somebody else made to depend on them stays, and the log says so."""
        with self.warehouse.session() as connection:
            _drop_schemas(connection, list(self._schemas.values()))


def schemas_left(connection: psycopg.Connection, refresh: str) -> list[str]:
    """Return the schemas of this refresh's previews that were killed: those of which no session is left."""
    return [str(name) for (name,) in connection.execute(_LEFT, {"refresh": refresh}).fetchall()]


def why_kept(connection: psycopg.Connection, schemas: Sequence[str]) -> str:
    """Return what outside of a preview's schemas depends on something in them, so that they must stay; empty if nothing does."""
    outside = [str(what) for (what,) in connection.execute(_OUTSIDE, {"schemas": list(schemas)})]
    return f"{', '.join(outside)} depends on them" if outside else ""


def drop_statement(schemas: Sequence[str]) -> sql.Composed:
    """Return the statement that drops a preview's schemas with all in them; only if `why_kept` finds nothing."""
    return sql.SQL("drop schema {} cascade").format(sql.SQL(", ").join(sql.Identifier(name) for name in schemas))


def _drop_schemas(connection: psycopg.Connection, schemas: Sequence[str]) -> None:
    """Drop those of the schemas that a preview has created."""
    ours = connection.execute(
        "select nspname from pg_namespace n join dbt_refresh_relation own on own.kind = 'schema' and own.oid = n.oid::bigint"
        " where nspname = any(%s) and own.run_id like 'preview-%%' order by 1",
        [list(schemas)],
    ).fetchall()
    names = [str(name) for (name,) in ours]
    if not names:
        return
    if why := why_kept(connection, names):
        _log.warning("the schemas %s stay, since %s", ", ".join(names), why)
        return
    connection.execute(drop_statement(names))
    connection.execute("delete from dbt_refresh_relation where kind = 'schema' and name = any(%s)", [names])
