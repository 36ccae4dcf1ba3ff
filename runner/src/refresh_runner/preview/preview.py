"""Builds what a change of the dbt project touches, in schemas of its own, and compares it with what is live. Readers see nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from refresh_api.plain import pluralize
from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node, NodeResult, NodeState
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection, first_line, short_transaction
from refresh_runner.preview.comparison import TableComparison, compare
from refresh_runner.preview.rows import MartRows, RowReader
from refresh_runner.preview.tables import TablePair
from refresh_runner.publish.derived_names import derive_name

if TYPE_CHECKING:
    from dbt.contracts.state import PreviousState

_log = logging.getLogger(__name__)
_SNAPSHOT: Final = "snapshot"
_GOOD: Final = frozenset({NodeState.OK, NodeState.WARNED})
_INCREMENTAL: Final = "incremental"
_MAX_NAMES: Final = 20
"""Number of models that a note names."""
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
_OURS: Final = r"""
    select n.nspname, m.of[1], pg_has_role(n.nspowner, 'usage'), exists (
        select from pg_stat_activity where application_name = m.of[1] and datname = current_database())
    from pg_namespace n, regexp_match(obj_description(n.oid, 'pg_namespace'), '^refresh-runner (preview-[0-9a-f]{8}) of (\S+)$') m (of)
    where m.of[2] = %s order by 1"""
"""Schemas of a refresh's previews by their comments, the preview's name, whether we may drop the schema, and whether the preview runs.

A comment needs no table that the role of previews could write and other roles trust: only the owner of a schema can set it.
"""


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
    rows: tuple[MartRows, ...] = ()
    """Rows that differ, if the scope asks for any."""


class InvalidSelectionError(Exception):
    """What a preview was to build is not a selection in dbt's syntax, or has none of the models that the change touches."""


@dataclass(frozen=True)
class Scope:
    """What of a change is previewed."""

    select: tuple[str, ...] = ()
    """dbt selectors that narrow what is built to those of the models that the change touches; empty for all of these."""
    all_models: bool = False
    """Whether the change touches every model of the layers."""
    rows: int = 0
    """Rows of each kind of difference to read of a mart."""
    sample_rows: int | None = None
    """Rows of a table above which a sample of about as many is compared; None to compare all."""


@dataclass
class Previewer:
    """One preview: a plan, the changed project, the project that is live, and a warehouse."""

    plan: Plan
    new: Dbt
    base: Dbt
    warehouse: WarehouseConnection
    id: str
    """Eight hexadecimal digits, in the names of the preview's schemas."""
    scope: Scope = Scope()
    say: Callable[[str], None] = _log.debug
    """Is told what the preview does."""
    _schemas: dict[str, str] = field(default_factory=dict)
    """The preview's schemas, by those of the models as the project spells them."""

    def run(self, limit: timedelta) -> Preview:
        """Build, test and compare, and drop what was built; RunFailedError if a model cannot be built.

        InvalidSelectionError if the scope selects none of the models that the change touches.
        """
        graph = self.new.graph
        models = [model for layer in self.plan.layers for model in graph.buildable(layer.selection)]
        known = {model.id for layer in self.plan.layers for model in self.base.graph.models(layer.selection)}
        previous = graph.previous(self.base.graph)
        modified = {model.id for model in models} if self.scope.all_models else graph.modified(previous)
        kinds = graph.materializations(models)
        touched = [model for model in dict.fromkeys(models) if model.id in modified]
        selected = self._selected(touched, previous)
        chosen = [model for model in selected if kinds.get(model.id, _SNAPSHOT) != _SNAPSHOT]
        left_out = tuple(self._left_out(touched, selected, chosen))
        removed = tuple(sorted(id_.split(".")[-1] for id_ in known - {model.id for model in models}))
        if not chosen:
            return Preview((), (), (), removed, left_out)
        live = graph.relations(chosen)
        schema_names = {graph.manifest.nodes[model.id].schema for model in chosen}
        self._schemas = {schema: derive_name(schema, f"__preview_{self.id}") for schema in sorted(schema_names)}
        try:
            return self._built(chosen, live, kinds, removed, left_out, limit)
        finally:
            # those of dbt, which may still be building
            self.warehouse.terminate_own_sessions()
            self._drop()

    def _selected(self, touched: Sequence[Node], previous: PreviousState) -> list[Node]:
        """Return those of the touched models that the scope selects; InvalidSelectionError if it selects none of them."""
        if not self.scope.select:
            return list(touched)
        words = " ".join(self.scope.select)
        try:
            wanted = {model.id for model in self.new.graph.models(Selection(self.scope.select), previous)}
        except RunFailedError as error:
            raise InvalidSelectionError(f"invalid selection {words}: {error.failure.message}") from error
        found = [model for model in touched if model.id in wanted]
        if touched and not found:
            raise InvalidSelectionError(f"the selection {words} has none of the models that the change touches: {_names(touched)}")
        return found

    def _left_out(self, touched: Sequence[Node], selected: Sequence[Node], chosen: Sequence[Node]) -> Iterator[str]:
        """Yield what the report says of touched models that are not built."""
        yield from (
            f"{model.name} is a snapshot or a function, which a preview does not build" for model in selected if model not in chosen
        )
        if left := [model for model in touched if model not in selected]:
            yield f"not selected: {_names(left)}"
        graph = self.new.graph
        stays = {*graph.relations([model for model in touched if model not in chosen]).values()}
        for read in graph.upstream(chosen, chosen):
            if read.relation in stays:
                yield f"{read.needed_by} reads {read.relation} as it is live, although the change touches it"

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
        self.say(f"building {pluralize(len(chosen), 'model')}")
        hooks = self.new.stage_for_preview(chosen, self._schemas)
        there = self.new.graph.relations(chosen)
        self._copy_incremental([(live[model.id], there[model.id]) for model in chosen if kinds[model.id] == _INCREMENTAL])
        built = self.new.run(chosen, limit)
        bad = [f"{result.node.name}: {result.message}" for result in built.nodes if result.state not in _GOOD]
        if built.error or bad:
            message = "; ".join(bad) or (built.error.message if built.error else "")
            raise RunFailedError(Failure(Reason.LAYER_FAILED, f"the change cannot be built: {message}"))
        tests = self.new.graph.tests_of(chosen)
        self.say(f"running {pluralize(len(tests), 'test')}")
        tested = self.new.test(tests, limit).nodes if tests else ()
        comparisons, rows = self._compared(chosen, live, there)
        notes = [*left_out, *(f"hook not run: {hook}" for hook in hooks)]
        return Preview(tuple(built.nodes), tuple(tested), comparisons, removed, tuple(notes), rows)

    def _compared(
        self, chosen: Sequence[Node], live: Mapping[str, Relation], there: Mapping[str, Relation]
    ) -> tuple[tuple[TableComparison, ...], tuple[MartRows, ...]]:
        marts = {Relation(mart.schema, mart.table): mart.unique_key for mart in self.plan.marts}
        wanted = [model for model in chosen if model.id in live and (not marts or live[model.id] in marts)]
        found, rows = [], []
        self.say(f"comparing {pluralize(len(wanted), 'table')} with what is live")
        with self.warehouse.session() as connection:
            for model in wanted:
                key = marts.get(live[model.id]) or self.new.graph.own_key(model.id)
                pair = TablePair.of(connection, live[model.id], there[model.id])
                found.append(comparison := compare(connection, pair, key, self.scope.sample_rows))
                if self.scope.rows:
                    rows.append(RowReader(connection, comparison.pair, self.scope.rows).read())
        return tuple(found), tuple(rows)

    def _create_schemas(self) -> None:
        """Create the schemas with a comment by which they are known, after those that killed previews of this refresh have left."""
        refresh = self.plan.run_request.refresh.name
        comment = sql.Literal(f"refresh-runner preview-{self.id} of {refresh}")
        with self.warehouse.session() as connection:
            _drop_schemas(connection, [left.name for left in schemas_left(connection, refresh) if left.is_ours])
            try:
                with short_transaction(connection):
                    for schema in map(sql.Identifier, self._schemas.values()):
                        connection.execute(sql.SQL("create schema {}").format(schema))
                        connection.execute(sql.SQL("comment on schema {} is {}").format(schema, comment))
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
            ours = _of_previews(connection, self.plan.run_request.refresh.name)
            _drop_schemas(connection, [each.name for each, id_, _ in ours if id_ == f"preview-{self.id}"])


def _names(models: Sequence[Node]) -> str:
    more = len(models) - _MAX_NAMES
    return ", ".join(model.name for model in models[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class LeftSchema:
    """A schema of a preview that was killed."""

    name: str
    is_ours: bool
    """Whether this session's role may drop it."""


def schemas_left(connection: psycopg.Connection, refresh: str) -> list[LeftSchema]:
    """Return the schemas of this refresh's previews that were killed: those of which no session is left."""
    return [schema for schema, _, is_running in _of_previews(connection, refresh) if not is_running]


def _of_previews(connection: psycopg.Connection, refresh: str) -> Iterator[tuple[LeftSchema, str, bool]]:
    for name, preview, is_ours, is_running in connection.execute(_OURS, [refresh]).fetchall():
        yield LeftSchema(str(name), bool(is_ours)), str(preview), bool(is_running)


def why_kept(connection: psycopg.Connection, schemas: Sequence[str]) -> str:
    """Return what outside of a preview's schemas depends on something in them, so that they must stay; empty if nothing does."""
    outside = [str(what) for (what,) in connection.execute(_OUTSIDE, {"schemas": list(schemas)})]
    return f"{', '.join(outside)} depends on them" if outside else ""


def drop_statement(schemas: Sequence[str]) -> sql.Composed:
    """Return the statement that drops a preview's schemas with all in them; only if `why_kept` finds nothing."""
    return sql.SQL("drop schema {} cascade").format(sql.SQL(", ").join(sql.Identifier(name) for name in schemas))


def _drop_schemas(connection: psycopg.Connection, schemas: Sequence[str]) -> None:
    if not schemas:
        return
    if why := why_kept(connection, schemas):
        _log.warning("the schemas %s stay, since %s", ", ".join(schemas), why)
        return
    connection.execute(drop_statement(schemas))
