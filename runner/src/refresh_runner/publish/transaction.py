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
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.spec import Vacuum
from refresh_runner.core.errors import is_retryable
from refresh_runner.postgres import older_snapshots
from refresh_runner.postgres.catalog import (
    MATERIALIZED_VIEW,
    TABLE,
    VIEW,
    ForeignKey,
    Relation,
    RelationInfo,
    View,
    dependents_of,
    foreign_keys_referencing,
    qualified_names,
    read_relations,
    views_reading,
)
from refresh_runner.postgres.connection import first_line, short_transaction
from refresh_runner.postgres.standbys import Standby, attached_standbys, deferring_standbys
from refresh_runner.publish import carried, own_relations, replication
from refresh_runner.publish.carried import Pair
from refresh_runner.publish.derived_names import aside, before, beside, in_passing
from refresh_runner.publish.merge import SETTINGS, DifferentError, Merge, fits, write_all
from refresh_runner.publish.own_relations import NOBODY, Maker

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
    texts_stated: bool = False
    """Whether the project's descriptions are its comments; else those by hand stay too."""


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
    _give_identities(connection, marts, ends)
    with _transaction(connection, terms):
        _make_room(connection, marts, terms.maker)
        live = _make_live(connection, _scene(connection, marts), ends, terms)
        record(live)
    return live


def tidy(connection: psycopg.Connection, live: Live, vacuum: Vacuum = Vacuum.AUTO) -> list[Standby] | None:
    """What was made live is planned and read as well as ever; psycopg.Error where PostgreSQL refuses, which changes nothing of it.

    Returns because of which standbys this is left to a later vacuum; None if it is not. Publishing has analyzed what changed then.
    """
    because = deferring_standbys(attached_standbys(connection), vacuum)
    for relation, written in live.items() if because is None else ():
        if written.changed:
            connection.execute(_TIDY[written.way].format(relation.sql))
    return because


def bring_back(connection: psycopg.Connection, marts: Sequence[Mart], record: Callable[[Live], None], terms: Terms) -> Live:
    """Put the marts' previous generation back, all at once; what was live is the previous one then. Raises as `publish` does."""
    ends = time.monotonic() + terms.within.total_seconds()
    own_relations.prepare(connection)
    _give_identities(connection, marts, ends)
    with _transaction(connection, terms):
        _make_room(connection, marts, terms.maker)
        _refuse_strangers(connection, [place for mart in marts for place in (before(mart.relation), *_building_sites(mart))])
        places = [before(mart.relation) for mart in marts]
        there = {found.relation for found in own_relations.there(connection, places)}
        if gone := [mart.relation for mart in marts if before(mart.relation) not in there]:
            raise NotPublishableError(f"there is no previous generation of {gone[0]}")
        own_relations.drop(connection, [beside(mart.relation) for mart in marts])
        for mart in marts:
            _change_schema(connection, before(mart.relation), beside(mart.relation).schema)
        live = _make_live(connection, _scene(connection, marts, by_foreign_keys=False), ends, terms)
        own_relations.drop_empty(connection, {beside(mart.relation).schema for mart in marts})
        record(live)
    return live


def make_way(connection: psycopg.Connection, marts: Sequence[Mart], kept: Collection[Relation], maker: Maker) -> None:
    """Nothing is in the way of what is built beside the live marts; what this run has built of the `kept` ones before stays.

    Raises NotPublishableError, with nothing changed, if something is there that no run has made.
    """
    own_relations.prepare(connection)
    with short_transaction(connection):
        _refuse_strangers(connection, [place for mart in marts for place in (before(mart.relation), *_building_sites(mart))])
        for mart in marts:
            _check_kind(connection, mart.relation)
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
        for name, value in SETTINGS.items():
            connection.execute("select set_config(%s, %s, true)", [name, value])
        yield
        terms.hold_stops()
        connection.execute("commit")
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise


def _give_identities(connection: psycopg.Connection, marts: Sequence[Mart], ends: float) -> None:
    """Rows can be deleted from live tables that are published to subscribers."""
    for relation, statement in replication.identities(connection, [mart.relation for mart in marts]).items():
        # By itself, since readers wait until it is committed: the rows take longer.
        with connection.transaction():
            _lock(connection, [relation], ends)
            connection.execute(statement)


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


@dataclass(frozen=True)
class Scene:
    """What is to be published, what is live, and how that hangs together."""

    marts: Sequence[Mart]
    live: Mapping[Relation, RelationInfo]
    """Of those that are there."""
    built: Mapping[Relation, RelationInfo]
    not_by_rows: Mapping[Relation, str]
    """Those in which not only rows have to change, and why."""
    foreign_keys: Sequence[ForeignKey]
    """All that refer to one of them, live or built."""
    standbys: Sequence[Standby] = ()

    @property
    def groups(self) -> list[list[Mart]]:
        """The marts that must be made live in the same way, since foreign keys lead from one to the other: those referred to first."""
        of = {seen.oid: relation for place in (self.live, self.built) for relation, seen in place.items()}
        parents: dict[Relation, set[Relation]] = {mart.relation: set() for mart in self.marts}
        for key in self.foreign_keys:
            if key.child in of and of[key.child] != of[key.parent]:
                parents[of[key.child]].add(of[key.parent])
        groups: list[set[Relation]] = []
        for relation, above in parents.items():
            met = [group for group in groups if group & {relation, *above}]
            groups = [group for group in groups if group not in met] + [set().union({relation}, above, *met)]
        return [self._sorted(group, parents) for group in groups]

    def _sorted(self, group: set[Relation], parents: Mapping[Relation, set[Relation]]) -> list[Mart]:
        left, done = sorted(group), list[Relation]()
        while left:
            # Of those that refer to each other in a circle none can be the first.
            ready = next((each for each in left if parents[each] <= set(done)), left[0])
            left.remove(ready)
            done.append(ready)
        of = {mart.relation: mart for mart in self.marts}
        return [of[relation] for relation in done]

    def pair(self, mart: Mart) -> Pair:
        """Return what was built, and what is to become as it is."""
        relation = mart.relation
        return Pair(self.built[relation].oid, self.live[relation].oid, relation, mart.grants_stated, mart.texts_stated)

    def merge(self, mart: Mart) -> Merge:
        """Return how a mart's rows are to be written."""
        live = self.live[mart.relation]
        key = next((each.key for each in self.foreign_keys if each.parent == live.oid), ())
        return Merge(mart.relation, beside(mart.relation), live, self.built[mart.relation], key)


def _scene(connection: psycopg.Connection, marts: Sequence[Mart], *, by_foreign_keys: bool = True) -> Scene:
    schemas = {beside(mart.relation).schema: mart.relation.schema for mart in marts}
    with qualified_names(connection):
        found = read_relations(connection, [place for mart in marts for place in (mart.relation, beside(mart.relation))], schemas)
    live = {mart.relation: found[mart.relation] for mart in marts if mart.relation in found}
    built = {mart.relation: found[beside(mart.relation)] for mart in marts if beside(mart.relation) in found}
    if lacking := [beside(mart.relation) for mart in marts if mart.relation not in built or built[mart.relation].kind != TABLE]:
        raise NotPublishableError(f"{lacking[0]} is not a table: nothing was built that could be published")
    keys = foreign_keys_referencing(connection, [each.oid for place in (live, built) for each in place.values()])
    standbys = attached_standbys(connection)
    compared = _COMPARED_FOR_STANDBYS if standbys else _COMPARED
    why: dict[Relation, str] = {}
    for relation, each in built.items():
        if relation not in live:
            why[relation] = "is new"
        elif not fits(live[relation], each, by_foreign_keys=by_foreign_keys):
            why[relation] = "changed its columns, constraints or indexes, or what the model does to it"
        elif _has_more(connection, beside(relation), compared):
            why[relation] = f"has more than {compared} rows"
    return Scene(marts, live, built, why, keys, standbys)


def _has_more(connection: psycopg.Connection, relation: Relation, rows: int) -> bool:
    query = sql.SQL("select count(*) > {} from (select from only {} limit {}) as counted").format(rows, relation.sql, rows + 1)
    return connection.execute(query).fetchone() == (True,)


def _make_live(connection: psycopg.Connection, scene: Scene, ends: float, terms: Terms) -> Live:
    replaced = [mart.relation for group in scene.groups if any(mart.relation in scene.not_by_rows for mart in group) for mart in group]
    built = [scene.built[relation].oid for relation in replaced if relation in scene.live]
    # While nothing is locked yet: who has a plan for what was live before the last publish would wait for us, and we for them.
    older_snapshots.wait(connection, built, terms.within / 4, scene.standbys)
    kept = [before(mart.relation) for mart in scene.marts if mart.relation not in terms.again]
    _refuse_strangers(connection, kept)
    _drop(connection, [found.relation for found in own_relations.there(connection, kept)])
    # Rows first: while they are written nobody waits; moving holds readers up, so it comes last and is short.
    done: dict[Relation, Written] = {}
    moved: dict[Relation, str] = {}
    for group in scene.groups:
        if reasons := {mart.relation: scene.not_by_rows[mart.relation] for mart in group if mart.relation in scene.not_by_rows}:
            for mart in group:
                moved[mart.relation] = reasons.get(mart.relation) or f"has a foreign key in common with {next(iter(reasons))}"
            continue
        try:
            with connection.transaction():
                written = _write_rows(connection, scene, group, terms)
        except (psycopg.Error, DifferentError) as error:
            if connection.closed or (isinstance(error, psycopg.Error) and is_retryable(error.sqlstate)):
                raise
            why = str(error) if isinstance(error, DifferentError) else first_line(error)
            moved |= {mart.relation: f"can't be changed row by row ({why})" for mart in group}
        else:
            done |= written
    carried.match(connection, [scene.pair(mart) for mart in scene.marts if mart.relation in done])
    _drop(connection, [beside(relation) for relation in done])
    if deferring_standbys(scene.standbys, terms.vacuum) is not None:
        _analyze(connection, [*(relation for relation, written in done.items() if written.changed), *map(beside, moved)])
    return {**done, **_move_all(connection, scene, moved, ends, terms)}


def _analyze(connection: psycopg.Connection, relations: Sequence[Relation]) -> None:
    """The relations are planned well as soon as they are live.

    Later, the transaction that analyzes one would remove from the catalog what another has replaced there, and end queries on standbys.
    """
    for relation in relations:
        connection.execute(sql.SQL("analyze (skip_locked) {}").format(relation.sql))


def _write_rows(connection: psycopg.Connection, scene: Scene, group: Sequence[Mart], terms: Terms) -> dict[Relation, Written]:
    """Make the live tables equal to what was built, and keep a copy of what they were; none of what this run itself has made live."""
    merges = [scene.merge(mart) for mart in group]
    for merge in merges:
        if merge.target not in terms.again:
            merge.keep(connection, before(merge.target))
            own_relations.note(connection, before(merge.target), terms.maker)
    changed = write_all(connection, merges)
    return {relation: Written(Way.ROWS, _count(connection, relation), count) for relation, count in changed.items()}


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


def _move_all(connection: psycopg.Connection, scene: Scene, why: Mapping[Relation, str], ends: float, terms: Terms) -> Live:
    """Put what was built in the live tables' place."""
    marts = [mart for mart in scene.marts if mart.relation in why]
    going = [scene.live[mart.relation].oid for mart in marts if mart.relation in scene.live]
    for mart in marts:
        _check_movable(connection, scene, mart, why[mart.relation], going)
    _lock(connection, [mart.relation for mart in marts if (live := scene.live.get(mart.relation)) and live.kind != MATERIALIZED_VIEW], ends)
    return {mart.relation: _move(connection, mart, scene, terms) for mart in marts}


def _check_kind(connection: psycopg.Connection, relation: Relation) -> None:
    """Raise NotPublishableError if no table can take the place of what is live: of all but a table, or a view that nobody reads."""
    with qualified_names(connection):
        live = read_relations(connection, [relation], {}).get(relation)
        is_replaced = live is None or live.kind in (TABLE, VIEW, MATERIALIZED_VIEW)
        if live and live.kind != TABLE and (not is_replaced or views_reading(connection, live.oid) or dependents_of(connection, live.oid)):
            raise NotPublishableError(f"{relation} is there and is not a table that could be published: drop it, or publish directly")


def _check_movable(connection: psycopg.Connection, scene: Scene, mart: Mart, why: str, going: Sequence[int]) -> None:
    """Raise NotPublishableError if something would be lost, or can't follow, were another table put in the live one's place."""
    target, live, built = mart.relation, scene.live.get(mart.relation), scene.built[mart.relation]
    if live is None:
        return
    with qualified_names(connection):
        views = views_reading(connection, live.oid)
        hanging = [each for each in dependents_of(connection, live.oid, going) if each not in dependents_of(connection, built.oid, going)]
    if live.kind != TABLE:
        _check_kind(connection, target)
    if lost := [*hanging, *live.missing_in(built)]:
        raise NotPublishableError(
            f"{target} {why}, and another table can't take its place while this hangs on it: {', '.join(sorted(lost))};"
            " remove that, or have the model make it too, or change the table by hand as the model has changed"
        )
    for view in views:
        if view.missing_privilege == "owner":
            raise NotPublishableError(
                f"{target} {why}, and the view {view.name}, which reads it, belongs to {view.owner}: only {view.owner} can have it read"
                f" another table; grant {view.owner} to {connection.info.user}, or give the view to that role, or drop it"
            )
        if view.missing_privilege:
            raise NotPublishableError(
                f"{target} {why}, and the view {view.name}, which reads it, can only be made anew by a role that may create in its schema:"
                f" grant create on schema {view.missing_privilege} to {connection.info.user}, or drop the view"
            )


def _move(connection: psycopg.Connection, mart: Mart, scene: Scene, terms: Terms) -> Written:
    """Put what was built in the live table's place; views that read the old one read the new one."""
    target, source, again = mart.relation, beside(mart.relation), mart.relation in terms.again
    live, built = scene.live.get(target), scene.built[target]
    # What this run itself has made live is nothing to keep; it goes once no view reads it any more.
    place = aside(target) if again else before(target)
    is_made = again and _make_schema(connection, place.schema)
    views: list[View] = []
    statistics: list[str] = []
    if live and live.kind == TABLE:
        with qualified_names(connection):
            views, statistics = views_reading(connection, live.oid), carried.taken_statistics(connection, live.oid, built.traits)
        carried.give(connection, [Pair(live.oid, built.oid, target, mart.grants_stated, mart.texts_stated)])
        _change_schema(connection, target, place.schema)
        if not again:
            own_relations.note(connection, place, terms.maker)
    elif live:
        kind = sql.SQL("materialized view" if live.kind == MATERIALIZED_VIEW else "view")
        # PostgreSQL locks no materialized view beforehand.
        connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_TIMEOUT))
        connection.execute(sql.SQL("drop {} {}").format(kind, target.sql))
        connection.execute("set local lock_timeout = default")
    _change_schema(connection, source, target.schema)
    own_relations.forget(connection, target)
    carried.grant_defaults(connection, [Pair(built.oid, built.oid, target)])
    for view in views:
        _make_anew(connection, view.statement, f"the view {view.name} reads {target} and can't read what it has become", "the view")
    for each in statistics:
        _make_anew(connection, each, f"statistics on {target} can't be made on what it has become", "them")
    for identity in replication.identities(connection, [target]).values():
        connection.execute(identity)
    if again and live and live.kind == TABLE:
        _drop(connection, [place])
    if is_made:
        connection.execute(sql.SQL("drop schema {}").format(sql.Identifier(place.schema)))
    rows = _count(connection, target)
    return Written(Way.MOVE if live else Way.NEW, rows, rows)


def _make_anew(connection: psycopg.Connection, statement: str, problem: str, what: str) -> None:
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        raise NotPublishableError(f"{problem}: {first_line(error)}; change or drop {what}") from error


def _count(connection: psycopg.Connection, relation: Relation) -> int:
    row = connection.execute(sql.SQL("select count(*) from only {}").format(relation.sql)).fetchone()
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
