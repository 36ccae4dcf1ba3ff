"""Builds models in staging relations, beside the live tables that they replace later.

Everything that refers to a model by `ref` reads its staging relation. A model that reads itself (`this`) reads the live table, as with
plain dbt. Therefore it is live while its own SQL is compiled, and staged while it is built and its hooks run. Any other reference to a live
table would read or change the data of the previous run. Therefore every statement of dbt is searched for such references, and fails if it
has one. A name in a string literal (`'{{ ref('mart') }}'`) is data, and therefore stays live (names_as_text.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt import names_as_text
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.patches.patch import Patch, Symbol, patched
from refresh_runner.dbt.sql_names import code_of, named, names_in, other_schema
from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.adapters.base.impl import BaseAdapter
    from dbt.adapters.base.relation import BaseRelation
    from dbt.adapters.postgres.connections import PostgresConnectionManager
    from dbt.compilation import Compiler
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import ManifestNode, ManifestSQLNode

PATCH: Final = Patch(
    name="staging",
    purpose="Marts are built beside the live tables.",
    symbols=(
        Symbol("dbt.compilation", "Compiler.compile_node", "self, node, manifest, extra_context, write, split_suffix"),
        Symbol("dbt.adapters.base.impl", "BaseAdapter.get_relation", "self, database, schema, identifier"),
        Symbol(
            "dbt.adapters.postgres.connections",
            "PostgresConnectionManager.add_query",
            "self, sql, auto_begin, bindings, abridge_sql_log, retryable_exceptions, retry_limit",
        ),
        Symbol("dbt.task.run", "RunTask.create_schemas", "self, adapter, required_schemas"),
        Symbol("dbt.task.run", "RunTask.get_model_schemas", "self, adapter, selected_uids"),
    ),
    required_for="publish: Swap",
)

_MIN_HEAD: Final = 63 - len("__dbt_tmp") - len("hhmmssffffff")
"""Minimum number of characters of a model's name that dbt keeps in a derived name (postgres__make_relation_with_suffix)."""
_CREATE_SCHEMA: Final = (
    "do $$ begin if not exists (select from pg_namespace where nspname = {text}) then create schema {name}; end if; end $$"
)


@dataclass(frozen=True)
class _Place:
    """A model in one location, with dbt's names for it."""

    node: ManifestNode
    schema: str
    relation_name: str | None
    relation: Relation
    """Its name in PostgreSQL's catalog."""

    @classmethod
    def of(cls, node: ManifestNode, names: Names) -> _Place:
        return cls(node, node.schema, node.relation_name, names.relation(node))

    def apply(self) -> None:
        """Move the model here."""
        self.node.schema, self.node.relation_name = self.schema, self.relation_name


class Staging:
    """The models of a project that are built in staging relations."""

    def __init__(self) -> None:
        self._live: dict[str, _Place] = {}
        self._staged: dict[str, _Place] = {}
        self._names: dict[str, str] = {}
        self._schemas: dict[str, str] = {}
        """Live schemas in the project's spelling, by staging schema."""
        self._is_live = False
        self.creates_live_schemas = True
        """Whether commands that build staged models also create the live schemas."""
        self._own = threading.local()
        self._notes: set[str] = set()

    def put(self, node: ManifestNode, schema: str, names: Names, note: str = "") -> None:
        """Build a model in this schema, where all references read it. `note` is the runner's own statement among its hooks.

        Raise RunFailedError if this version of dbt does not allow it.
        """
        PATCH.require()
        # dbt strips each hook before it sends it.
        self._notes |= {note.strip()} - {""}
        self._live[node.unique_id] = _Place.of(node, names)
        live, node.schema = names.in_sql(node), schema
        if node.relation_name:
            node.relation_name = names.in_sql(node)
        self._staged[node.unique_id] = _Place.of(node, names)
        self._names[live] = names.in_sql(node)
        self._schemas[schema] = self._live[node.unique_id].schema

    def take_back(self, id_: str) -> None:
        """Point a model to its live relation again, before anything has been built in its staging relation or refers to it."""
        # dbt's threads read these at any time, so they are replaced, not changed.
        live, staged = self._live[id_], self._staged[id_]
        self._live = {each: place for each, place in self._live.items() if each != id_}
        self._staged = {each: place for each, place in self._staged.items() if each != id_}
        self._names = {name: place for name, place in self._names.items() if place != staged.relation_name}
        live.apply()

    @property
    def ids(self) -> frozenset[str]:
        """Return the IDs of the staged models."""
        return frozenset(self._live)

    @property
    def names(self) -> Mapping[str, str]:
        """Return dbt's names of the staging relations, by dbt's names of the live ones."""
        return self._names

    @contextmanager
    def as_live(self) -> Iterator[None]:
        """Point all models to their live relations inside the block."""
        self._is_live = True
        for place in self._live.values():
            place.apply()
        try:
            yield
        finally:
            for place in self._staged.values():
                place.apply()
            self._is_live = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace how dbt creates schemas, compiles a model, looks up a relation and sends a statement, for commands inside the block."""
        if not self._live or self._is_live:
            yield
            return
        from dbt.adapters.base.impl import BaseAdapter
        from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager
        from dbt.compilation import Compiler
        from dbt.task.run import RunTask

        create_schemas: Callable[..., None] = RunTask.create_schemas
        compile_node: Callable[..., ManifestSQLNode] = Compiler.compile_node
        get_relation: Callable[..., BaseRelation | None] = BaseAdapter.get_relation
        add_query: Callable[..., object] = Manager.add_query

        def create_all_schemas(task: RunTask, adapter: BaseAdapter, required_schemas: set[BaseRelation]) -> None:
            # Publishing would create a live schema without the project's own macro. Commands that build nothing create no schema.
            names = {each.schema for each in required_schemas}
            built = frozenset(id_ for id_, place in self._staged.items() if place.schema in names)
            if built and self.creates_live_schemas:
                with self.as_live():
                    required_schemas = required_schemas | task.get_model_schemas(adapter, built)
            create_schemas(task, adapter, required_schemas)

        def compile_as_live(
            compiler: Compiler, node: ManifestSQLNode, manifest: Manifest, *args: object, **named_: object
        ) -> ManifestSQLNode:
            with self._compiling(node.unique_id):
                compiled = compile_node(compiler, node, manifest, *args, **named_)
                # A unit test is compiled later, as a separate node.
                if code := getattr(compiled, "compiled_code", None):
                    self._check(compiled.name, code)
                    compiled.compiled_code = self._with_live_texts(compiled.name, code)
            return compiled

        def get_staged_relation(adapter: BaseAdapter, database: str, schema: str, identifier: str) -> BaseRelation | None:
            built: BaseRelation | None = None
            if place := self._built_for(schema, identifier):
                built = get_relation(adapter, database, place.schema, place.table)
            return built or get_relation(adapter, database, schema, identifier)

        def add_checked(manager: PostgresConnectionManager, sql: str, *args: object, **named_: object) -> object:
            id_ = str(manager.get_thread_connection().name)
            return [add_query(manager, statement, *args, **named_) for statement in self._sent(id_, sql)][-1]

        with ExitStack() as stack:
            stack.enter_context(patched(RunTask, create_schemas=create_all_schemas))
            stack.enter_context(patched(Compiler, compile_node=compile_as_live))
            stack.enter_context(patched(BaseAdapter, get_relation=get_staged_relation))
            stack.enter_context(patched(Manager, add_query=add_checked))
            yield

    @contextmanager
    def _compiling(self, id_: str) -> Iterator[None]:
        """Point a model to its live relation while this thread compiles it; other nodes stay unchanged."""
        if id_ not in self._live:
            yield
            return
        self._live[id_].apply()
        self._own.place = self._live[id_].relation
        try:
            yield
        finally:
            self._own.place = None
            self._staged[id_].apply()

    @property
    def _at(self) -> Relation | None:
        """Return the live relation of the model that this thread is compiling; None if there is none."""
        return getattr(self._own, "place", None)

    def _built_for(self, schema: str, name: str) -> Relation | None:
        """Return the staging relation of a live name; None for other names and for the model that is being compiled."""
        for id_, place in self._live.items():
            is_asked_for = (schema, name) in {(place.schema, place.node.alias), (place.relation.schema, place.relation.table)}
            if is_asked_for and place.relation != self._at:
                return self._staged[id_].relation
        return None

    def _sent(self, id_: str, sql: str) -> list[str]:
        """Return the statements to send in place of one.

        Raise dbt's own exception if it names a live table or another table of a staging schema.
        """
        if any(note in sql for note in self._notes):
            return [sql]
        name = id_.split(".")[2] if id_.count(".") > 1 else id_
        if names_as_text.stores_texts(sql):
            # dbt itself stores the result of compiled code, whose literals already have the live names.
            sql = self._with_live_texts(name, sql)
        if self._at is not None or id_ not in self._live:
            self._check(name, sql)
            return [sql]
        live, staged = self._live[id_], self._staged[id_]
        # A model's own SQL was checked when it was compiled, and may read the live table.
        code = getattr(live.node, "compiled_code", None)
        rest = sql.replace(code, "") if code else sql
        self._check(live.node.name, rest)
        self._check_neighbours(live.node.name, rest, staged.relation.schema)
        if (instead := other_schema(rest, staged.relation.schema, live.relation.schema)) is None:
            return [sql]
        text, name = (f"{quote}{live.relation.schema.replace(quote, quote * 2)}{quote}" for quote in ("'", '"'))
        # Privileges on all tables of a schema are also granted on the staging relation.
        whole = " all " in " ".join(rest.lower().split())
        return [_CREATE_SCHEMA.format(text=text, name=name), *([sql] if whole else []), instead]

    def _with_live_texts(self, name: str, sql: str) -> str:
        try:
            return names_as_text.with_live_names(sql, self._schemas)
        except names_as_text.AmbiguousNameError as error:
            from dbt_common.exceptions import DbtRuntimeError

            raise DbtRuntimeError(ambiguous(name, error)) from error

    def _check(self, name: str, sql: str) -> None:
        others = [place for place in self._live.values() if place.relation != self._at]
        if found := named(sql, [place.relation for place in others]):
            raise _error(name, found[0])

    def _check_neighbours(self, name: str, sql: str, schema: str) -> None:
        """Raise dbt's own exception if a statement names a table of a staging schema that is not a staged model."""
        ours = [place.node.alias.lower() for place in self._staged.values() if place.schema == schema]
        if _begins(sql, "drop index"):
            return
        if found := sorted(each for each in names_in(sql, schema) if not any(_belongs(each, alias) for alias in ours)):
            from dbt_common.exceptions import DbtRuntimeError

            message = f"{name} uses {found[0]} in {schema}, the schema in which marts are built before they are live"
            raise DbtRuntimeError(f"{message}: name the table with its own schema, not with that of `this`, or set publish: Direct")


def _belongs(name: str, alias: str) -> bool:
    """Return whether a name is that of a model, or derived from it by dbt, which truncates it to make room for a suffix."""
    head, suffix, _ = name.partition("__dbt_")
    return name.startswith(alias) or (bool(suffix) and len(head) >= _MIN_HEAD and alias.startswith(head))


def _begins(sql: str, words: str) -> bool:
    """Return whether a statement begins with these words, after the comment that dbt prepends."""
    return " ".join(code_of(sql).lower().split()).startswith(words)


def _error(name: str, relation: Relation) -> Exception:
    from dbt_common.exceptions import DbtRuntimeError

    return DbtRuntimeError(by_name(name, relation))


def by_name(who: str, relation: Relation) -> str:
    """Return the message, with a remedy, for something that names a live table."""
    message = f"{who} names {relation}, which this run builds beside the live table and publishes at its end"
    return f"{message}: it would use the data of the previous run; use ref(), `this` in the model's own hooks, or publish: Direct"


def ambiguous(who: str, error: names_as_text.AmbiguousNameError) -> str:
    """Return the message, with a remedy, for a staging schema's name that could be data or a name."""
    message = f"{who} {error}: it stands for a mart that this run builds in a staging schema, and the runner cannot tell whether it is used"
    return f"{message} as data (then it must be the live name) or as a name (then it must not); set publish: Direct"
