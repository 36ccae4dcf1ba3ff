"""Models that dbt builds beside the live tables of their names.

All that refers to them (`ref`) reads them there. A model that reads itself (`this`) reads what is live, as with dbt alone: so it stands
there while its own SQL is put together, and beside while it is built and its hooks run. Whatever names a live table in another way
would read or change the data of the run before, so dbt's statements are looked through, and one that does ends with an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refresh_runner.dbt.names import Names
from refresh_runner.dbt.patches.patch import changed
from refresh_runner.dbt.sql_names import code_of, named, names_in, other_schema, text_of_other_schema
from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.adapters.base.impl import BaseAdapter
    from dbt.adapters.base.relation import BaseRelation
    from dbt.adapters.postgres.connections import PostgresConnectionManager
    from dbt.compilation import Compiler
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import ManifestNode, ManifestSQLNode

_MAKE_SCHEMA = "do $$ begin if not exists (select from pg_namespace where nspname = {text}) then create schema {name}; end if; end $$"


@dataclass(frozen=True)
class _Place:
    """A model, and how dbt names where it stands."""

    node: ManifestNode
    schema: str
    relation_name: str | None
    relation: Relation
    """Where PostgreSQL has it."""

    @classmethod
    def of(cls, node: ManifestNode, names: Names) -> _Place:
        return cls(node, node.schema, node.relation_name, names.place(node))

    def take(self) -> None:
        """Have the model stand here."""
        self.node.schema, self.node.relation_name = self.schema, self.relation_name


class Aside:
    """The models of a project that are built beside the live ones."""

    def __init__(self) -> None:
        self._live: dict[str, _Place] = {}
        self._beside: dict[str, _Place] = {}
        self._names: dict[str, str] = {}
        self._is_live = False
        self._own = threading.local()
        self._notes: set[str] = set()

    def put(self, node: ManifestNode, schema: str, names: Names, note: str = "") -> None:
        """Have a model built in this schema, and read there by all that refers to it; `note` is a statement of ours among its hooks."""
        # dbt trims each hook before it sends it.
        self._notes |= {note.strip()} - {""}
        self._live[node.unique_id] = _Place.of(node, names)
        live, node.schema = names.in_sql(node), schema
        if node.relation_name:
            node.relation_name = names.in_sql(node)
        self._beside[node.unique_id] = _Place.of(node, names)
        self._names[live] = names.in_sql(node)

    @property
    def ids(self) -> frozenset[str]:
        """Of the models."""
        return frozenset(self._live)

    @property
    def names(self) -> Mapping[str, str]:
        """How dbt names each where it is built, by how it names it where it is live."""
        return self._names

    @contextmanager
    def as_live(self) -> Iterator[None]:
        """Have all stand where readers find them while inside."""
        self._is_live = True
        for place in self._live.values():
            place.take()
        try:
            yield
        finally:
            for place in self._beside.values():
                place.take()
            self._is_live = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand while inside where dbt puts a model's SQL together, where it looks for a relation, and where it sends a statement."""
        if not self._live or self._is_live:
            yield
            return
        from dbt.adapters.base.impl import BaseAdapter
        from dbt.adapters.postgres.connections import PostgresConnectionManager as Manager
        from dbt.compilation import Compiler

        compile_node: Callable[..., ManifestSQLNode] = Compiler.compile_node
        get_relation: Callable[..., BaseRelation | None] = BaseAdapter.get_relation
        add_query: Callable[..., object] = Manager.add_query

        def compile_at_home(
            compiler: Compiler, node: ManifestSQLNode, manifest: Manifest, *args: object, **named_: object
        ) -> ManifestSQLNode:
            with self._at_home(node.unique_id):
                compiled = compile_node(compiler, node, manifest, *args, **named_)
                # A unit test is put together later, as another node.
                self._check(compiled.name, getattr(compiled, "compiled_code", None) or "")
            return compiled

        def get_relation_beside(adapter: BaseAdapter, database: str, schema: str, identifier: str) -> BaseRelation | None:
            built: BaseRelation | None = None
            if place := self._built_for(schema, identifier):
                built = get_relation(adapter, database, place.schema, place.table)
            return built or get_relation(adapter, database, schema, identifier)

        def add_checked(manager: PostgresConnectionManager, sql: str, *args: object, **named_: object) -> object:
            id_ = str(manager.get_thread_connection().name)
            return [add_query(manager, statement, *args, **named_) for statement in self._sent(id_, sql)][-1]

        with ExitStack() as stack:
            stack.enter_context(changed(Compiler, compile_node=compile_at_home))
            stack.enter_context(changed(BaseAdapter, get_relation=get_relation_beside))
            stack.enter_context(changed(Manager, add_query=add_checked))
            yield

    @contextmanager
    def _at_home(self, id_: str) -> Iterator[None]:
        """Have a model, if it is one of these, stand where it is live, for what this thread does."""
        if id_ not in self._live:
            yield
            return
        self._live[id_].take()
        self._own.place = self._live[id_].relation
        try:
            yield
        finally:
            self._own.place = None
            self._beside[id_].take()

    @property
    def _at(self) -> Relation | None:
        """Where the model stands whose SQL this thread puts together."""
        return getattr(self._own, "place", None)

    def _built_for(self, schema: str, name: str) -> Relation | None:
        """Return where what is asked for by its live name is built, unless the model that asks is it."""
        for id_, place in self._live.items():
            is_asked_for = (schema, name) in {(place.schema, place.node.alias), (place.relation.schema, place.relation.table)}
            if is_asked_for and place.relation != self._at:
                return self._beside[id_].relation
        return None

    def _sent(self, id_: str, sql: str) -> list[str]:
        """Return what is to be sent for a statement; dbt's own exception if it names a live table, or what is not beside it."""
        if self._at is not None or id_ not in self._live:
            self._check(id_.split(".")[2] if id_.count(".") > 1 else id_, sql)
            return [sql]
        if any(note in sql for note in self._notes):
            return [sql]
        live, beside = self._live[id_], self._beside[id_]
        # Its own SQL was looked at as it was put together, and reads what is live.
        code = getattr(live.node, "compiled_code", None)
        rest = sql.replace(code, "") if code else sql
        self._check(live.node.name, rest)
        self._check_neighbours(live.node.name, rest, beside.relation.schema)
        if _begins(rest, "insert"):
            # What a hook writes down of the model is where readers find it. dbt itself inserts nothing.
            return [text_of_other_schema(sql, beside.relation.schema, live.relation.schema)]
        if (instead := other_schema(rest, beside.relation.schema, live.relation.schema)) is None:
            return [sql]
        text, name = (f"{quote}{live.relation.schema.replace(quote, quote * 2)}{quote}" for quote in ("'", '"'))
        # Rights on all that is in a schema are given to what is being built, too.
        whole = " all " in " ".join(rest.lower().split())
        return [_MAKE_SCHEMA.format(text=text, name=name), *([sql] if whole else []), instead]

    def _check(self, name: str, sql: str) -> None:
        others = [place for place in self._live.values() if place.relation != self._at]
        if found := named(sql, [place.relation for place in others]):
            raise _error(name, found[0])

    def _check_neighbours(self, name: str, sql: str, schema: str) -> None:
        """Nothing but the models that are built there is looked for in a schema of ours."""
        ours = tuple(place.node.alias.lower() for place in self._beside.values() if place.schema == schema)
        if _begins(sql, "drop index"):
            return
        if found := sorted(each for each in names_in(sql, schema) if not each.startswith(ours)):
            from dbt_common.exceptions import DbtRuntimeError

            message = f"{name} looks for {found[0]} in {schema}, the schema in which the marts are built before they are live"
            raise DbtRuntimeError(f"{message}: a hook names another table by its own schema, not by that of `this`, or set publish: Direct")


def _begins(sql: str, words: str) -> bool:
    """Return whether this is what a statement does; dbt puts a comment before each."""
    return " ".join(code_of(sql).lower().split()).startswith(words)


def _error(name: str, relation: Relation) -> Exception:
    from dbt_common.exceptions import DbtRuntimeError

    return DbtRuntimeError(by_name(name, relation))


def by_name(who: str, relation: Relation) -> str:
    """Say that something names a live table, and what to do."""
    message = f"{who} names {relation}, which this run builds beside the live table and makes live at its end"
    return f"{message}: it would meet the data of the run before; use ref(), `this` in the model's own hooks, or publish: Direct"
