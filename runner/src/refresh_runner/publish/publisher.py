"""The marts of one run: where dbt builds each mart, and when they are published or rolled back."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

import psycopg

from refresh_api.run_request import ModeKind
from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import MartCheck
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import first_line
from refresh_runner.postgres.standbys import attached_standbys, deferring_standbys, standby_names, vacuum_dead_rows, wal_position
from refresh_runner.publish import live, own_relations, staging, versions
from refresh_runner.publish.derived_names import staging_relation
from refresh_runner.publish.failures import publish_failure
from refresh_runner.publish.options import Mart, NotPublishableError, PublishOptions, PublishResults
from refresh_runner.publish.own_relations import RelationOrigin
from refresh_runner.publish.rollback import rollback
from refresh_runner.publish.staged_tables import staged_tables

log = logging.getLogger(__name__)

_RESUME_HINT: Final = "request a run with mode resume once the data is correct"


class MartPublisher:
    """Publishes the marts that a run validates. With `publish: Swap`, those that dbt builds as tables are built in staging relations."""

    def __init__(self, plan: Plan, connection: psycopg.Connection) -> None:
        """`connection` holds the warehouse lock: a run that has lost the lock cannot publish."""
        self._plan = plan
        self._connection = connection
        self._refresh = plan.run_request.refresh.name
        self._origin = RelationOrigin(self._refresh, plan.attempt.run_id)
        self._staged: dict[Relation, Mart] = {}
        self._ids: dict[Relation, str] = {}
        self._built: frozenset[str] = frozenset()
        self._kept: frozenset[Relation] = frozenset()
        self._results: PublishResults = {}
        self.wal_position: str | None = None
        """End of the WAL right after this run published; None until then."""

    def check_not_held(self) -> None:
        """Raise RunFailedError, which skips the run, while a rollback holds publishing; a run with mode resume releases the hold."""
        versions.prepare(self._connection)
        own_relations.prepare(self._connection)
        version = versions.current(self._connection, self._refresh)
        if version is None or version.held_since is None:
            return
        if self._plan.mode.kind is ModeKind.RESUME:
            versions.resume(self._connection, self._refresh)
        elif not self._plan.policy.is_rollback and self._plan.policy.publishes:
            message = f"publishing is on hold since the rollback to {version.name} at {version.held_since:%Y-%m-%d %H:%M %Z}"
            raise RunFailedError(Failure(Reason.PUBLISHING_HELD, message, hint=_RESUME_HINT, skips_run=True))

    def stage(self, dbt: Dbt, built: Sequence[Node], checks: Sequence[MartCheck]) -> None:
        """Make dbt build the checked marts that are tables in staging relations, and read them there."""
        places = set(map(str, dbt.graph.relations(built).values()))
        self._built = frozenset(check.relation for check in checks if check.relation in places)
        for relation, table in staged_tables(self._plan, dbt, built, checks).items():
            place = staging_relation(relation)
            dbt.stage(table, place.schema, own_relations.register_statement_for_dbt(self._connection, place, self._origin))
            self._staged[relation] = Mart(relation, table.has_grants, table.persists_docs)
            self._ids[relation] = table.id

    def keep_live(self, relation: Relation) -> None:
        """Leave a mart as it is, because the run reuses it: it is neither staged nor published. Called on dbt's threads."""
        self._kept |= {relation}
        self._staged = {each: mart for each, mart in self._staged.items() if each != relation}

    def prepare_staging(self, kept: Collection[str]) -> None:
        """Drop what earlier runs left in staging, except for nodes of this run that are `kept`.

        Raise RunFailedError if staging contains a relation that no refresh created.
        """
        with self._failing_as_publish(self._marts):
            staging.prepare_staging(self._connection, self._marts, self.staged_of(kept), self._origin)

    def staged_of(self, nodes: Collection[str]) -> list[Relation]:
        """Return the marts, by live name, that these nodes build in staging relations."""
        return [relation for relation, node in self._ids.items() if node in nodes]

    @property
    def staged_relations(self) -> Collection[Relation]:
        """The marts, by live name, that are built in staging relations."""
        return self._staged.keys()

    @property
    def mart_count(self) -> int:
        """Number of marts that the run publishes: all, unless its mode selects some models."""
        return self._plan.mart_count if self._plan.policy.model_selector is None else len(self._built)

    def staged(self, check: MartCheck) -> MartCheck:
        """Return a check that reads the mart where this run has built it."""
        relation = Relation(check.schema, check.table)
        return replace(check, schema=staging_relation(relation).schema) if relation in self._staged else check

    def publish(self, rows: Mapping[str, int], options: PublishOptions) -> str | None:
        """Publish all marts. Return the live data version, or None if this run built no mart. Raise RunFailedError if that fails.

        `rows` are the row counts of all marts by schema.name. Marts that the run's mode leaves out, or that it reuses, stay unchanged. If
        it reuses all of them, the live version stays too.
        """
        if not self._plan.policy.publishes or not self.mart_count:
            return None
        rows = {name: count for name, count in rows.items() if self._plan.policy.model_selector is None or name in self._built}
        if before := versions.current(self._connection, self._refresh) if self._kept else None:
            # A mart that is reused still belongs to the version that published it.
            rows = {name: count for name, count in rows.items() if name not in before.marts or name not in map(str, self._kept)}
            if not rows:
                return before.name
        version = self._plan.attempt.run_id
        published = versions.published_by(self._connection, self._refresh, version)
        republish = frozenset(relation for relation in self._staged if str(relation) in published)
        options = replace(options, republish=republish, origin=self._origin)

        def record(results: PublishResults) -> None:
            versions.record(self._connection, self._refresh, version, results, rows)

        self._vacuum_deferred()
        with self._failing_as_publish(self._marts):
            self._results = live.publish(self._connection, self._marts, record, options)
        for relation, result in self._results.items():
            strategy = result.strategy.name.lower()
            log.info("%s is live: %s rows, %s of them written (%s)", relation, result.rows, result.rows_written, strategy)
        return version

    def rollback(self, options: PublishOptions) -> str:
        """Make the previous data version live, hold publishing, and return that version. Raise RunFailedError if there is none."""
        version = versions.current(self._connection, self._refresh)
        if version is not None and version.held_since is not None:
            return version.name
        if version is None or version.previous is None:
            message = f"{self._refresh} has no previous version to roll back to"
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, message, hint="the second publish is the first that keeps one"))
        if other := versions.published_since(self._connection, self._refresh):
            message = f"cannot roll back: {other} has published some of the same marts since {version.name}"
            raise RunFailedError(Failure(Reason.PUBLISH_FAILED, message, hint="a mart should be published by one refresh only"))
        marts = [Mart(Relation(*name.split(".", 1))) for name in version.replaced]

        def record(_results: PublishResults) -> None:
            versions.record_rollback(self._connection, self._refresh)

        with self._failing_as_publish(marts):
            self._results = rollback(self._connection, marts, record, replace(options, origin=self._origin))
        return version.previous

    def vacuum_analyze(self) -> None:
        """Vacuum and analyze what was published. If PostgreSQL rejects this, log a warning: the marts are live in any case."""
        try:
            because = live.vacuum_analyze(self._connection, self._results, self._plan.vacuum)
        except psycopg.Error as error:
            log.warning("the marts are live, but PostgreSQL could not vacuum or analyze them: %s", first_line(error))
            return
        if self._results and because is not None:
            why = f"{standby_names(because)} has no hot_standby_feedback" if because else f"vacuum: {self._plan.vacuum}"
            log.info("leaving dead rows to the next publish, or to autovacuum: %s", why)

    def live_version(self) -> str | None:
        """Return the live data version; None before the first publish."""
        version = versions.current(self._connection, self._refresh)
        return version.name if version else None

    def drop_staging(self) -> None:
        """Drop what this run built and did not publish."""
        staging.drop_staging(self._connection, self._marts)

    @property
    def _marts(self) -> list[Mart]:
        return list(self._staged.values())

    def _vacuum_deferred(self) -> None:
        """Vacuum dead rows that an earlier run left because of standbys, if PostgreSQL allows it."""
        with suppress(psycopg.Error):
            if deferring_standbys(attached_standbys(self._connection), self._plan.vacuum) is not None:
                vacuum_dead_rows(self._connection, list(self._staged))

    @contextmanager
    def _failing_as_publish(self, marts: Sequence[Mart]) -> Iterator[None]:
        """Convert errors to RunFailedErrors, and record the WAL position at the end."""
        try:
            yield
        except (NotPublishableError, psycopg.Error) as error:
            raise RunFailedError(publish_failure(error, self._connection, [mart.relation for mart in marts])) from error
        with suppress(psycopg.Error):
            self.wal_position = wal_position(self._connection)
