"""Making marts live: all of a refresh's at once, in one transaction on the connection that holds the warehouse.

dbt builds the marts beside the live ones, in schemas of their own (`…__next`); there they are tested and validated. Publishing
then makes the live tables equal to them, row by row where both have the same shape, which takes no lock that a reader would
notice; else by putting the new table in the old one's place. What was live before is kept (`…__previous`) until the next time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_api.spec import Vacuum
from refresh_runner import own_relations
from refresh_runner.catalog import TABLE, VIEW, Relation, Seen, match_comments, match_grants, seen, views_on
from refresh_runner.derived_names import aside, before, beside, in_passing
from refresh_runner.own_relations import NOBODY, Maker
from refresh_runner.standbys import Standby, attached, unprotected
from refresh_runner.warehouse import first_line, quick

_LOCK_TIMEOUT: Final = "100ms"
"""How long readers may be held up by our waiting for them. Under deadlock_timeout (1 s), so that we give way and never a reader."""
_PAUSE: Final = 0.1
"""Seconds between two tries to lock, on the average."""
_COMPARED: Final = 1_000_000
"""Rows up to which a table is compared rather than moved; a million take some ten seconds."""
_COMPARED_FOR_STANDBYS: Final = 5_000_000
"""The same where standbys are attached: the lock of a move is replayed there, gives way to no reader and cancels queries."""


class Way(StrEnum):
    """How a mart was made live."""

    ROWS = "Rows"
    """The rows that differed were written."""
    MOVE = "Move"
    """The new table took the old one's place."""
    NEW = "New"
    """There was none before."""


class NotPublishableError(Exception):
    """A mart can't be made live without loss: says which, why and what to do. Nothing was changed."""


@dataclass(frozen=True)
class Mart:
    """A mart to publish."""

    relation: Relation
    """Where readers find it."""
    grants_stated: bool = False
    """Whether the dbt project states who may read it; else what was granted by hand stays too."""


@dataclass(frozen=True)
class Written:
    """How one mart was made live."""

    way: Way
    rows: int
    """Rows of the mart."""
    changed: int
    """Rows that were deleted and written."""


@dataclass(frozen=True)
class Terms:
    """How publishing may go on."""

    within: timedelta
    """Longest duration, waiting for readers included."""
    hold_stops: Callable[[], object]
    """Called right before the commit. From then on no stop from outside is let in, until whoever gave it has told what is live."""
    vacuum: Vacuum = Vacuum.AUTO
    again: frozenset[Relation] = frozenset()
    """Those of which an earlier attempt of this run made live what is: that is replaced, and what was live before it stays kept."""
    maker: Maker = NOBODY
    """The run that publishes."""


Live = Mapping[Relation, Written]

_TIDY: Final = {
    # Or readers would read all versions since the last autovacuum. Not made shorter, since that waits for readers; whoever
    # has the table locked does the same, or will be followed by an autovacuum.
    Way.ROWS: sql.SQL("vacuum (analyze, truncate off, skip_locked) {}"),
    Way.MOVE: sql.SQL("analyze (skip_locked) {}"),
    Way.NEW: sql.SQL("analyze (skip_locked) {}"),
}
"""What follows a publishing, by the way that a mart was made live; see `tidy`."""


def publish(connection: psycopg.Connection, marts: Sequence[Mart], record: Callable[[Live], None], terms: Terms) -> Live:
    """All marts are live afterwards, or none; `record` is called inside the transaction.

    Raises NotPublishableError, or psycopg.Error: LockNotAvailable if readers leave no gap within the time.
    """
    ends = time.monotonic() + terms.within.total_seconds()
    own_relations.prepare(connection)
    with _transaction(connection, terms):
        _make_room(connection, marts, terms.maker)
        live = _make_live(connection, marts, ends, terms)
        record(live)
    return live


def tidy(connection: psycopg.Connection, live: Live, vacuum: Vacuum = Vacuum.AUTO) -> list[Standby] | None:
    """What was made live is planned and read as well as ever; psycopg.Error where PostgreSQL refuses, which changes nothing of it.

    Returns because of which standbys this is left to a later vacuum; None if it is not. Publishing has analyzed what changed then.
    """
    because = unprotected(attached(connection), vacuum)
    for relation, written in live.items() if because is None else ():
        if written.changed:
            connection.execute(_TIDY[written.way].format(relation.sql))
    return because


def bring_back(connection: psycopg.Connection, marts: Sequence[Mart], record: Callable[[Live], None], terms: Terms) -> Live:
    """Put the marts' previous generation back, all at once; what was live is the previous one then. Raises as `publish` does."""
    ends = time.monotonic() + terms.within.total_seconds()
    own_relations.prepare(connection)
    with _transaction(connection, terms):
        _make_room(connection, marts, terms.maker)
        _refuse_strangers(connection, [place for mart in marts for place in (before(mart.relation), *_building_sites(mart))])
        for mart in marts:
            if seen(connection, before(mart.relation)) is None:
                raise NotPublishableError(f"there is no previous generation of {mart.relation}")
        own_relations.drop(connection, [beside(mart.relation) for mart in marts])
        for mart in marts:
            _change_schema(connection, before(mart.relation), beside(mart.relation).schema)
        live = _make_live(connection, marts, ends, terms)
        own_relations.drop_empty(connection, {beside(mart.relation).schema for mart in marts})
        record(live)
    return live


def make_way(connection: psycopg.Connection, marts: Sequence[Mart], kept: Collection[Relation], maker: Maker) -> None:
    """Nothing is in the way of what is built beside the live marts; what this run has built of the `kept` ones before stays.

    Raises NotPublishableError, with nothing changed, if something is there that no run has made.
    """
    with quick(connection):
        _refuse_strangers(connection, [place for mart in marts for place in (before(mart.relation), *_building_sites(mart))])
        # Publishing will drop these: whether it may is known before anything is built.
        with connection.transaction(force_rollback=True):
            _drop(connection, [found.relation for found in own_relations.there(connection, [before(mart.relation) for mart in marts])])
        found = own_relations.there(connection, [place for mart in marts for place in _building_sites(mart)])
        stays = {each.relation for each in found if each.run_id == maker.run_id} & {beside(relation) for relation in kept}
        _drop(connection, [each.relation for each in found if each.relation not in stays])
        for schema in sorted({beside(mart.relation).schema for mart in marts}):
            own_relations.make_schema(connection, schema, maker)


def discard(connection: psycopg.Connection, marts: Sequence[Mart]) -> None:
    """Nothing that was built beside the live marts is there any more, in whatever state dbt left it; what others put there stays."""
    own_relations.drop(connection, [place for mart in marts for place in _building_sites(mart)])
    own_relations.drop_empty(connection, {beside(mart.relation).schema for mart in marts})


def _building_sites(mart: Mart) -> list[Relation]:
    """Return where dbt builds a mart, by all names that it has meanwhile."""
    place = beside(mart.relation)
    return [place, *in_passing(place)]


def _refuse_strangers(connection: psycopg.Connection, places: Iterable[Relation]) -> None:
    if strangers := [str(found.relation) for found in own_relations.there(connection, places) if not found.is_ours]:
        raise NotPublishableError(
            f"{', '.join(strangers)} {'is' if len(strangers) == 1 else 'are'} in the way, and no run of a refresh has made"
            f" {'it' if len(strangers) == 1 else 'them'}: what is published is built and kept under"
            f" {'this name' if len(strangers) == 1 else 'these names'}; rename, move or drop {'it' if len(strangers) == 1 else 'them'}"
        )


@contextmanager
def _transaction(connection: psycopg.Connection, terms: Terms) -> Iterator[None]:
    connection.execute("begin")
    try:
        connection.execute(sql.SQL("set local statement_timeout = {}").format(max(int(terms.within.total_seconds() * 1000), 1)))
        yield
        terms.hold_stops()
        connection.execute("commit")
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise


def _make_room(connection: psycopg.Connection, marts: Sequence[Mart], maker: Maker) -> None:
    for schema in sorted({mart.relation.schema for mart in marts}):
        # The live schema is the dashboards', whoever has made it.
        _make_schema(connection, schema)
    for schema in sorted({place.schema for mart in marts for place in (beside(mart.relation), before(mart.relation))}):
        own_relations.make_schema(connection, schema, maker)


def _make_schema(connection: psycopg.Connection, name: str) -> bool:
    """The schema is there afterwards; return whether it was made."""
    # Asked first: "if not exists" wants the right to create schemas even where there is nothing to do.
    if connection.execute("select from pg_namespace where nspname = %s", [name]).fetchone() is not None:
        return False
    connection.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
    return True


def _make_live(connection: psycopg.Connection, marts: Sequence[Mart], ends: float, terms: Terms) -> Live:
    there = {mart: seen(connection, mart.relation) for mart in marts}
    built = {mart: _built(connection, mart) for mart in marts}
    kept = [before(mart.relation) for mart in marts if mart.relation not in terms.again]
    _refuse_strangers(connection, kept)
    _drop(connection, [found.relation for found in own_relations.there(connection, kept)])
    standbys = attached(connection)
    compared = _COMPARED_FOR_STANDBYS if standbys else _COMPARED
    # Rows first: while they are written nobody waits; moving holds readers up, so it comes last and is short.
    done = {}
    for mart, live in there.items():
        if live and _fits(connection, mart, live, built[mart], compared):
            done[mart.relation] = _write_rows(connection, mart, live, built[mart], terms)
    _drop(connection, [beside(relation) for relation in done])
    moved = [mart for mart in marts if mart.relation not in done]
    if unprotected(standbys, terms.vacuum) is not None:
        _analyze(
            connection, [*(relation for relation, written in done.items() if written.changed), *(beside(mart.relation) for mart in moved)]
        )
    _lock(connection, [mart.relation for mart in moved if there[mart]], ends)
    return done | {mart.relation: _move(connection, mart, there[mart], built[mart], terms) for mart in moved}


def _analyze(connection: psycopg.Connection, relations: Sequence[Relation]) -> None:
    """The relations are planned well as soon as they are live.

    Later, the transaction that analyzes one would remove from the catalog what another has replaced there, and end queries on standbys.
    """
    for relation in relations:
        connection.execute(sql.SQL("analyze (skip_locked) {}").format(relation.sql))


def _built(connection: psycopg.Connection, mart: Mart) -> Seen:
    found = seen(connection, beside(mart.relation))
    if found is None or found.kind != TABLE:
        raise NotPublishableError(f"{beside(mart.relation)} is not a table: nothing was built that could be published")
    return found


def _fits(connection: psycopg.Connection, mart: Mart, live: Seen, built: Seen, compared: int) -> bool:
    if live.kind != TABLE or live.shape != built.shape:
        return False
    row = connection.execute(
        sql.SQL("select count(*) from (select from {} limit {}) as counted").format(beside(mart.relation).sql, compared + 1)
    ).fetchone()
    return row is not None and int(row[0]) <= compared


# Rows are compared as text, which every type has; equal ones are told apart by their number.
_DIFFERING: Final[LiteralString] = """
    with mine as (select ctid as place, __row::text as whole, row_number() over (partition by __row::text collate "C") as nth
                  from {this} __row),
         other as (select __row::text as whole, row_number() over (partition by __row::text collate "C") as nth
                   from {that} __row)
    select place from mine
    where not exists (select from other where other.whole = mine.whole and other.nth = mine.nth)"""


def _write_rows(connection: psycopg.Connection, mart: Mart, live: Seen, built: Seen, terms: Terms) -> Written:
    """Make the live table equal to what was built, and keep a copy of what it was; none of what this run itself has made live."""
    target, source, kept = mart.relation, beside(mart.relation), before(mart.relation)
    columns = sql.SQL(", ").join(sql.Identifier(name) for name, _, _ in built.shape.columns)
    if target not in terms.again:
        connection.execute(sql.SQL("create table {} (like {} including all)").format(kept.sql, target.sql))
        connection.execute(sql.SQL("insert into {} table {}").format(kept.sql, target.sql))
        own_relations.note(connection, kept, terms.maker)
    gone = sql.SQL(_DIFFERING).format(this=target.sql, that=source.sql)
    changed = connection.execute(sql.SQL("delete from {} where ctid in ({})").format(target.sql, gone)).rowcount
    new = sql.SQL(_DIFFERING).format(this=source.sql, that=target.sql)
    insert = sql.SQL("insert into {} ({}) select {} from {} where ctid in ({})").format(target.sql, columns, columns, source.sql, new)
    changed += connection.execute(insert).rowcount
    match_comments(connection, built.oid, live.oid)
    match_grants(connection, built.oid, live.oid, exactly=mart.grants_stated)
    return Written(Way.ROWS, _count(connection, target), changed)


def _lock(connection: psycopg.Connection, relations: Sequence[Relation], ends: float) -> None:
    """Nobody reads or writes any of the tables until the transaction ends.

    All are locked before any is touched: a reader of two of them would else be in a deadlock with us.
    """
    if not relations:
        return
    lock = sql.SQL("lock table {} in access exclusive mode").format(sql.SQL(", ").join(relation.sql for relation in relations))
    connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_TIMEOUT))
    while True:
        try:
            with connection.transaction():
                connection.execute(lock)
            break
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > ends:
                raise
            time.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads tries, guards nothing
    connection.execute("set local lock_timeout = default")


def _move(connection: psycopg.Connection, mart: Mart, live: Seen | None, built: Seen, terms: Terms) -> Written:
    """Put what was built in the live table's place; views that read the old one read the new one."""
    target, source, again = mart.relation, beside(mart.relation), mart.relation in terms.again
    views, attached = views_on(connection, live.oid) if live else ([], [])
    if attached:
        raise NotPublishableError(
            f"{target} changed its columns, constraints or indexes, and another table can't take its place while this hangs on it: "
            f"{', '.join(attached)}; remove that, or change the table by hand as the model has changed"
        )
    # What this run itself has made live is nothing to keep; it goes once no view reads it any more.
    place = aside(target) if again else before(target)
    is_made = again and _make_schema(connection, place.schema)
    if live and live.kind == TABLE:
        if not mart.grants_stated:
            match_grants(connection, live.oid, built.oid, exactly=False)
        _change_schema(connection, target, place.schema)
        if not again:
            own_relations.note(connection, place, terms.maker)
    elif live and live.kind == VIEW and not views:
        connection.execute(sql.SQL("drop view {}").format(target.sql))
    elif live:
        raise NotPublishableError(f"{target} is there and is not a table: drop it, or publish directly")
    _change_schema(connection, source, target.schema)
    own_relations.forget(connection, target)
    for view in views:
        try:
            connection.execute(view.statement.encode())
        except psycopg.Error as error:
            message = f"the view {view.name} reads {target} and can't read what it has become: {first_line(error)}"
            raise NotPublishableError(f"{message}; change or drop the view") from error
    if again and live and live.kind == TABLE:
        _drop(connection, [place])
    if is_made:
        connection.execute(sql.SQL("drop schema {}").format(sql.Identifier(place.schema)))
    rows = _count(connection, target)
    return Written(Way.MOVE if live else Way.NEW, rows, rows)


def _count(connection: psycopg.Connection, relation: Relation) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(relation.sql)).fetchone()
    return int(row[0]) if row else 0


def _change_schema(connection: psycopg.Connection, relation: Relation, schema: str) -> None:
    connection.execute(sql.SQL("alter table {} set schema {}").format(relation.sql, sql.Identifier(schema)))


def _drop(connection: psycopg.Connection, relations: Sequence[Relation]) -> None:
    """None of these tables is there any more; NotPublishableError if anybody else's view or constraint needs one of them."""
    if not relations:
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(relation.sql for relation in relations)))
    except psycopg.errors.DependentObjectsStillExist as error:
        needed = "; ".join((error.diag.message_detail or first_line(error)).splitlines())
        raise NotPublishableError(
            f"cannot drop {', '.join(map(str, relations))}, which a refresh made and now replaces: {needed}; drop what depends on it"
        ) from error
