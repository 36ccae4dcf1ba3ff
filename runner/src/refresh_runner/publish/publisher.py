"""The marts of one run: where each is built, and when it becomes what readers see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

import psycopg

from refresh_api.run_request import ModeKind
from refresh_api.spec import Publish
from refresh_api.status import Reason
from refresh_runner.core.errors import LINT_HINT, Failure, RunFailedError, is_retryable
from refresh_runner.dbt.graph import TableModel
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import MartCheck, TestsStep
from refresh_runner.postgres.blocking import find_blocker
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import first_line
from refresh_runner.postgres.standbys import attached_standbys, deferring_standbys, standby_names, vacuum_dead_rows, wal_position
from refresh_runner.publish import own_relations, transaction, versions
from refresh_runner.publish.derived_names import beside, unfit
from refresh_runner.publish.own_relations import Maker
from refresh_runner.publish.transaction import Live, Mart, NotPublishableError, Terms

log = logging.getLogger(__name__)

_HINTS: Final = {
    "42501": "does the warehouse's user own the marts, and may it create schemas?",
    "57014": "raise spec.timeout, or look at what publishing waits for",
    "23": "the rows break a constraint that the live mart has, or one that refers to it: look at what was added to it by hand",
    "2BP01": "something that is not the refresh's hangs on what is to be replaced: change or drop that",
    "55": "something that was added to the mart by hand keeps PostgreSQL from writing it: look at what hangs on it",
}
"""What to do, by the beginning of the SQLSTATE."""
_HINT: Final = "look at what was added to the mart by hand (triggers, rules, constraints, publications): `\\d+` in psql shows it"
_RESUME_HINT: Final = "ask for a run with the mode resume once the data is right"


class Marts:
    """The marts that a run validates. Those that dbt builds as tables in this run are built beside the live ones, if it swaps."""

    def __init__(self, plan: Plan, connection: psycopg.Connection) -> None:
        """`connection` is the one that holds the warehouse: a run that has lost it can't publish."""
        self._plan = plan
        self._connection = connection
        self._refresh = plan.run_request.refresh.name
        self._maker = Maker(self._refresh, plan.attempt.run_id)
        self._swapped: dict[Relation, Mart] = {}
        self._ids: dict[Relation, str] = {}
        self._built: frozenset[str] = frozenset()
        self._live: Live = {}
        self.position: str | None = None
        """Where the write-ahead log ended when this run had made them live; None until then."""

    def begin(self) -> None:
        """Check that something may be published; RunFailedError, which gives way, while a roll-back holds it."""
        versions.prepare(self._connection)
        own_relations.prepare(self._connection)
        live = versions.current(self._connection, self._refresh)
        if live is None or live.held_since is None:
            return
        if self._plan.mode.kind is ModeKind.RESUME:
            versions.resume(self._connection, self._refresh)
        elif not self._plan.policy.is_rollback and self._plan.policy.publishes:
            message = f"publishing is held since the roll-back to {live.name} at {live.held_since:%Y-%m-%d %H:%M %Z}"
            raise RunFailedError(Failure(Reason.PUBLISHING_HELD, message, hint=_RESUME_HINT, skips_run=True))

    def build_beside(self, dbt: Dbt, built: Sequence[Node], checks: Sequence[MartCheck]) -> None:
        """Have dbt build those of the checked marts that are tables beside the live ones, and read them there."""
        places = set(map(str, dbt.graph.relations(built).values()))
        self._built = frozenset(check.relation for check in checks if check.relation in places)
        for relation, table in swapped(self._plan, dbt, built, checks).items():
            place = beside(relation)
            dbt.stage(table, place.schema, own_relations.noted_by_dbt(self._connection, place, self._maker))
            self._swapped[relation] = Mart(relation, table.has_grants, table.persists_docs)
            self._ids[relation] = table.id

    def make_way(self, kept: Collection[str]) -> None:
        """What earlier runs left where dbt builds is gone, but for the `kept` nodes of this run; RunFailedError if it is not ours."""
        stays = [relation for relation, id_ in self._ids.items() if id_ in kept]
        marts = list(self._swapped.values())

        def act() -> Live:
            transaction.make_way(self._connection, marts, stays, self._maker)
            return {}

        self._done(marts, act)

    @property
    def swapped(self) -> Collection[Relation]:
        """Those that are built beside the live ones."""
        return self._swapped.keys()

    @property
    def of_run(self) -> int:
        """How many of the marts the run is to make live: all, unless its mode names some models."""
        return self._plan.mart_count if self._plan.policy.model_selector is None else len(self._built)

    def place(self, check: MartCheck) -> MartCheck:
        """Return where a mart is to be validated."""
        relation = Relation(check.schema, check.table)
        return replace(check, schema=beside(relation).schema) if relation in self._swapped else check

    def publish(self, rows: Mapping[str, int], terms: Terms) -> str | None:
        """Make all live; return the version that is live then, None if this run built no mart. RunFailedError if that can't be done.

        `rows` are the rows of each mart by schema.name. Marts that the run was told not to build stay what they are.
        """
        if not self._plan.policy.publishes or not self.of_run:
            return None
        rows = {name: count for name, count in rows.items() if self._plan.policy.model_selector is None or name in self._built}
        version = self._plan.attempt.run_id
        again = versions.published_by(self._connection, self._refresh, version)
        published = frozenset(mart.relation for mart in self._swapped.values() if str(mart.relation) in again)
        terms = replace(terms, again=published, maker=self._maker)

        def record(live: Live) -> None:
            versions.record(self._connection, self._refresh, version, live, rows)

        marts = list(self._swapped.values())
        self._make_room(marts)
        self._live = self._done(marts, lambda: transaction.publish(self._connection, marts, record, terms))
        for relation, written in self._live.items():
            log.info("%s is live: %s rows, %s of them written (%s)", relation, written.rows, written.changed, written.way)
        return version

    def bring_back(self, terms: Terms) -> str:
        """Put the previous version back and hold publishing; return that version. RunFailedError if there is none."""
        live = versions.current(self._connection, self._refresh)
        if live is not None and live.held_since is not None:
            return live.name
        if live is None or live.previous is None:
            message = f"there is no earlier version of {self._refresh} to put back"
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, message, hint="a version is kept from the second publishing on"))
        if other := versions.published_since(self._connection, self._refresh):
            message = f"{other} has published some of the same marts since {live.name}: what was live before that is not kept"
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, message, hint="a mart should be published by one refresh alone"))
        marts = [Mart(Relation(*name.split(".", 1))) for name in live.replaced]
        self._live = self._done(
            marts,
            lambda: transaction.bring_back(
                self._connection,
                marts,
                lambda _live: versions.record_rollback(self._connection, self._refresh),
                replace(terms, maker=self._maker),
            ),
        )
        return live.previous

    def tidy(self) -> None:
        """What was made live is planned and read as well as ever, if PostgreSQL lets us: it is live all the same."""
        try:
            because = transaction.tidy(self._connection, self._live, self._plan.vacuum)
        except psycopg.Error as error:
            log.warning("the marts are live, but PostgreSQL could not vacuum or analyze them: %s", first_line(error))
            return
        if self._live and because is not None:
            why = f"{standby_names(because)} has no hot_standby_feedback" if because else f"vacuum: {self._plan.vacuum}"
            log.info("rows that were replaced are removed before the next publish, or by autovacuum: %s", why)

    def live_version(self) -> str | None:
        """Return the version that is live; None before the first publishing."""
        live = versions.current(self._connection, self._refresh)
        return live.name if live else None

    def discard(self) -> None:
        """Remove what this run built and did not publish."""
        transaction.discard(self._connection, list(self._swapped.values()))

    def _make_room(self, marts: Sequence[Mart]) -> None:
        """What an earlier run has left for a later vacuum goes now, if PostgreSQL lets us."""
        with suppress(psycopg.Error):
            if deferring_standbys(attached_standbys(self._connection), self._plan.vacuum) is not None:
                vacuum_dead_rows(self._connection, [mart.relation for mart in marts])

    def _done(self, marts: Sequence[Mart], act: Callable[[], Live]) -> Live:
        try:
            live = act()
            with suppress(psycopg.Error):
                self.position = wal_position(self._connection)
            return live
        except NotPublishableError as error:
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, str(error))) from error
        except psycopg.errors.LockNotAvailable as error:
            message = "readers left no gap in which the new marts could take the old ones' place"
            hint = "a reader keeps a transaction open: select * from pg_stat_activity where state like 'idle in transaction%'"
            with suppress(psycopg.Error):
                if reader := find_blocker(self._connection, [mart.relation for mart in marts]):
                    message = f"{message}: {reader}"
                    hint = "if that session reads without an end, end it: select pg_terminate_backend(its number)"
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, message, retryable=True, hint=hint)) from error
        except psycopg.Error as error:
            if self._connection.closed:
                message = "the connection that holds the warehouse was lost while publishing"
                raise RunFailedError(Failure(Reason.LOCK_LOST, message, retryable=True)) from error
            message = f"the marts can't be published: {first_line(error)}"
            hint = next((hint for state, hint in _HINTS.items() if (error.sqlstate or "").startswith(state)), _HINT)
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, message, is_retryable(error.sqlstate), hint)) from error


def swapped(plan: Plan, dbt: Dbt, built: Sequence[Node], checks: Sequence[MartCheck]) -> dict[Relation, TableModel]:
    """Return those of the checked marts that the run builds as tables, and so can publish together.

    RunFailedError if one is not in the project at all: it would never be built, and be called valid for ever by what it once was. If
    a model of the run that is not among them reads one of them: it would read what is not live, or is gone. And if anything that the
    run builds or tests names one of them in another way than by `ref`: it would meet the data of the run before.
    """
    known = dbt.graph.known()
    for check in checks:
        if check.relation not in known:
            message = f"validation.marts: {unknown(check.relation, known)}"
            raise RunFailedError(Failure(Reason.INVALID_PROJECT, message, hint=LINT_HINT))
    tables = _tables(plan, dbt, built, checks)
    check_names(dbt, built, tables)
    if detour := next(dbt.graph.live_references([*built, *_tested(plan, dbt)], tables), None) if tables else None:
        raise RunFailedError(Failure(Reason.INVALID_PROJECT, detour, hint=LINT_HINT))
    return tables


def _tested(plan: Plan, dbt: Dbt) -> Iterator[Node]:
    for step in plan.steps:
        if isinstance(step, TestsStep) and step.name not in plan.policy.skipped_steps:
            # A selection that takes nothing is told where the step is looked at.
            with suppress(RunFailedError):
                yield from dbt.graph.tests(step.selection)


def check_names(dbt: Dbt, built: Sequence[Node], swapped: Collection[Relation] = ()) -> None:
    """Raise RunFailedError if a name that dbt or publishing uses for what is built can't work, or means two things."""
    if problem := next(unfit(set(dbt.graph.relations(built).values()), swapped), None):
        raise RunFailedError(Failure(Reason.INVALID_PROJECT, problem, hint=LINT_HINT))


def _tables(plan: Plan, dbt: Dbt, built: Sequence[Node], checks: Sequence[MartCheck]) -> dict[Relation, TableModel]:
    if plan.publish is not Publish.SWAP:
        return {}
    tables = dbt.graph.tables(built)
    wanted = {Relation(check.schema, check.table) for check in checks} & tables.keys()
    for relation in sorted(wanted):
        if outside := [name for name, where in tables[relation].readers.items() if where not in wanted]:
            message = f"{outside[0]} reads {relation}, which is published together with the others, but is not a table among them"
            hint = f"list {outside[0]} in validation.marts as a table, or set publish: Direct"
            raise RunFailedError(Failure(Reason.INVALID_PROJECT, message, hint=hint))
    return {relation: tables[relation] for relation in sorted(wanted)}


def unknown(relation: str, known: Collection[str]) -> str:
    """Say that a project has no such relation, and which one may have been meant: by its name first, else by its letters."""
    same = sorted(each for each in known if each.partition(".")[2] == relation.partition(".")[2])
    meant = same or get_close_matches(relation, sorted(known), 3)
    return f"no model of the dbt project is {relation}" + (f"; is it {' or '.join(meant)}?" if meant else "")
