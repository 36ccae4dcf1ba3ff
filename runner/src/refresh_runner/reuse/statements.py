"""Examines a statement in PostgreSQL, without executing it: what it reads, and whether its result depends on nothing else.

The statement becomes a temporary view in a transaction that is rolled back, and the parse tree of the view, and of all views that it reads,
is examined. `pg_depend` is not enough: it does not record functions that PostgreSQL brings along, nor `current_date`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, LiteralString

import psycopg

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import transaction_with_timeout
from refresh_runner.reuse.parse_tree import ParseTree, parse_tree

_VIEW: Final = "dbt_refresh_examined"
_FIRST_OWN_OID: Final = 16384
"""Objects with a smaller oid come with PostgreSQL."""
_COLLATIONS: Final = frozenset({100, 950, 951})
"""The database's own collation, whose version is recorded, C and POSIX."""
_NAMES_OF_OBJECTS: Final = frozenset({24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191})
"""Types whose values stand for objects of the catalog: regclass and the like."""
_DATES: Final = frozenset({1082, 1083, 1114, 1184, 1266})
"""date, time, timestamp and the two with a time zone: each reads the text `now` as the current time."""
_WORDS: Final = re.compile(r"\b(now|today|tomorrow|yesterday)\b(?!\s*\()", re.I)
"""Literals that become the current time while the statement is parsed, so that the tree only has the constant."""
_BY_SETTINGS: Final = frozenset(
    line.strip()
    for line in """
    anytextcat(anynonarray,text)
    array_to_json(anyarray)
    array_to_string(anyarray,text)
    array_to_string(anyarray,text,text)
    concat("any")
    concat_ws(text,"any")
    date(timestamp with time zone)
    date_add(timestamp with time zone,interval)
    date_part(text,timestamp with time zone)
    date_subtract(timestamp with time zone,interval)
    date_trunc(text,timestamp with time zone)
    "extract"(text,timestamp with time zone)
    format(text)
    format(text,"any")
    generate_series(timestamp with time zone,timestamp with time zone,interval)
    interval_pl_timestamptz(interval,timestamp with time zone)
    json_agg(anyelement)
    json_build_array("any")
    json_build_object("any")
    json_object_agg("any","any")
    jsonb_agg(anyelement)
    jsonb_build_array("any")
    jsonb_build_object("any")
    quote_literal(anyelement)
    quote_nullable(anyelement)
    row_to_json(record)
    textanycat(text,anynonarray)
    "time"(timestamp with time zone)
    "timestamp"(timestamp with time zone)
    timestamptz(date)
    timestamptz(date,time without time zone)
    timestamptz(timestamp without time zone)
    timestamptz_mi_interval(timestamp with time zone,interval)
    timestamptz_pl_interval(timestamp with time zone,interval)
    to_char(bigint,text)
    to_char(double precision,text)
    to_char(integer,text)
    to_char(interval,text)
    to_char(numeric,text)
    to_char(real,text)
    to_char(timestamp with time zone,text)
    to_char(timestamp without time zone,text)
    to_date(text,text)
    to_json(anyelement)
    to_jsonb(anyelement)
    to_number(text,text)
    to_timestamp(text,text)
    """.strip().splitlines()
)
"""Stable functions whose results depend on nothing but their arguments and settings that are recorded."""
_COMPARISONS: Final = re.compile(
    r'"?(date|timestamp|timestamptz)_(cmp|eq|ne|lt|le|gt|ge)_(date|timestamp|timestamptz)"?\([a-z ]+,[a-z ]+\)'
)
"""Stable, because they depend on the time zone, which is recorded."""


@dataclass(frozen=True)
class Examined:
    """What a statement reads, and why its result may be another one each time."""

    unsafe: str = ""
    """Why its result depends on more than what it reads and the recorded settings; empty if it does not."""
    unsafe_definition: str = ""
    """Why even its definition, as that of a view, may be another one each time."""
    direct: frozenset[Relation] = frozenset()
    """The tables and views that the statement itself names."""
    tables: frozenset[Relation] = frozenset()
    """All tables that it reads, directly or through views."""
    views: frozenset[Relation] = frozenset()
    """All views that it reads."""


@dataclass
class _Found:
    tables: set[Relation] = field(default_factory=set)
    views: set[Relation] = field(default_factory=set)
    direct: set[Relation] = field(default_factory=set)
    trees: list[ParseTree] = field(default_factory=list)
    has_catalog: bool = False
    """Whether one of the tables comes with PostgreSQL, which changes their rows without a transaction of its own."""


def examine(connection: psycopg.Connection, statement: str, limit: timedelta) -> Examined:
    """Return what a query reads, and whether its result depends on more. A statement that is no single query counts as unsafe."""
    try:
        with transaction_with_timeout(connection, limit), connection.transaction(force_rollback=True):
            connection.execute("set local lock_timeout = '5s'")
            # As a prepared statement, which PostgreSQL only accepts if it is a single one.
            connection.execute(f"create temporary view {_VIEW} as (\n{statement}\n)".encode(), prepare=True)
            found = _Found()
            (oid,) = connection.execute("select to_regclass(%s)::oid", [f"pg_temp.{_VIEW}"]).fetchone() or (0,)
            _follow(connection, {int(oid)}, found)
            unsafe = next(_reasons(connection, found), "")
    except psycopg.Error as error:
        # Without the message, which may quote a literal of the statement.
        problem = f"cannot be examined as a query ({type(error).__name__})"
        return Examined(problem, problem)
    word = _WORDS.search(statement)
    folded = f"has the word {word[0].lower()}, which may stand for the current time" if word else ""
    return Examined(unsafe or folded, folded, frozenset(found.direct), frozenset(found.tables), frozenset(found.views))


def _follow(connection: psycopg.Connection, views: Collection[int], found: _Found) -> None:
    """Collect the trees of views, and of the views that these read, and the tables."""
    seen: set[int] = set()
    pending, is_first = set(views), True
    while pending:
        seen |= pending
        texts = connection.execute(_TREES, [list(pending)]).fetchall()
        trees = [parse_tree(str(text)) for (text,) in texts]
        found.trees += trees
        read = {oid for tree in trees for oid in tree.relations} - seen
        pending = set()
        for oid, kind, schema, table in connection.execute(_RELATIONS, [list(read)]).fetchall():
            relation = Relation(str(schema), str(table))
            (found.views if kind == "v" else found.tables).add(relation)
            found.has_catalog |= kind != "v" and oid < _FIRST_OWN_OID
            pending |= {int(oid)} if kind == "v" else set()
            found.direct |= {relation} if is_first else set()
        is_first = False


def _reasons(connection: psycopg.Connection, found: _Found) -> Iterator[str]:
    """Yield why the result of the statement may be another one each time."""
    yield from (tree.unsafe for tree in found.trees if tree.unsafe)
    used = {oid for tree in found.trees for oid in tree.types}
    if any(oid >= _FIRST_OWN_OID for oid in used):
        yield "uses a type that does not come with PostgreSQL"
    if found.has_catalog:
        yield "reads the catalog"
    if used & _NAMES_OF_OBJECTS:
        yield "uses names of objects as values"
    if any(tree.converted_to & _DATES for tree in found.trees):
        yield "reads dates from text, which may be the word now"
    if any(tree.collations - _COLLATIONS for tree in found.trees):
        yield "uses a collation other than the database's own and C"
    functions = [oid for tree in found.trees for oid in tree.functions]
    operators = [oid for tree in found.trees for oid in tree.operators]
    for oid, name, volatility in connection.execute(_FUNCTIONS, {"functions": functions, "operators": operators}):
        if oid >= _FIRST_OWN_OID:
            yield f"calls {name}, which does not come with PostgreSQL"
        elif volatility != "i" and not (volatility == "s" and (name in _BY_SETTINGS or _COMPARISONS.fullmatch(name))):
            yield f"calls {name}, whose result may be another one each time"


_TREES: Final[LiteralString] = "select ev_action::text from pg_rewrite where ev_class = any(%s::oid[]) and rulename = '_RETURN'"
_RELATIONS: Final[LiteralString] = """
    select c.oid, c.relkind::text, n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = any(%s::oid[])"""
_FUNCTIONS: Final[LiteralString] = """
    select p.oid, p.oid::regprocedure::text, p.provolatile::text from pg_proc p
    where p.oid = any(%(functions)s::oid[]) or p.oid in (select oprcode from pg_operator where oid = any(%(operators)s::oid[]))
    order by p.proname"""
