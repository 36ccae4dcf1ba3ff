"""The transaction in which marts are published, on the connection that holds the warehouse lock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

from refresh_runner.core.backoff import LOCK_RETRY
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish import own_relations, replication
from refresh_runner.publish.derived_names import previous_relation, staging_relation
from refresh_runner.publish.options import COMPARISON_SETTINGS, Mart, PublishOptions

LOCK_TIMEOUT: Final = "100ms"
"""How long new readers may queue behind the lock request. Below deadlock_timeout (1 s), so that a deadlock cancels this transaction and
never a reader."""


class PublishTransaction:
    """A transaction that publishes marts before a deadline."""

    def __init__(self, connection: psycopg.Connection, options: PublishOptions) -> None:
        self.connection = connection
        self.options = options
        self.deadline = time.monotonic() + options.timeout.total_seconds()

    def prepare(self, marts: Sequence[Mart]) -> None:
        """Do what must be committed before the transaction: create the runner's table, and set replica identities of live tables."""
        own_relations.prepare(self.connection)
        for relation, statement in replication.replica_identity_statements(self.connection, [mart.relation for mart in marts]).items():
            # In a separate transaction: readers wait until it commits, and merging rows takes longer.
            with self.connection.transaction():
                self.lock([relation])
                self.connection.execute(statement)

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Open the transaction, commit it at the end, and roll it back on any error."""
        self.connection.execute("begin")
        try:
            limit = max(int(self.options.timeout.total_seconds() * 1000), 1)
            self.connection.execute(sql.SQL("set local statement_timeout = {}").format(limit))
            for name, value in COMPARISON_SETTINGS.items():
                self.connection.execute("select set_config(%s, %s, true)", [name, value])
            yield
            self.options.mask_cancellation()
            self.connection.execute("commit")
        except BaseException:
            if not self.connection.closed:
                self.connection.rollback()
            raise

    def create_schemas(self, marts: Sequence[Mart]) -> None:
        """Create the live, staging and previous schemas that do not exist."""
        for schema in sorted({mart.relation.schema for mart in marts}):
            # The live schema belongs to the dashboards, whoever created it.
            own_relations.create_schema_if_missing(self.connection, schema)
        derived = {place.schema for mart in marts for place in (staging_relation(mart.relation), previous_relation(mart.relation))}
        for schema in sorted(derived):
            own_relations.create_schema(self.connection, schema, self.options.origin)

    def lock(self, relations: Sequence[Relation]) -> None:
        """Take an ACCESS EXCLUSIVE lock on the tables until the transaction ends. Raise psycopg.errors.LockNotAvailable after the deadline.

        All tables are locked before any is changed. Otherwise a reader of two of them could deadlock with this transaction.
        """
        if not relations:
            return
        lock = sql.SQL("lock table {} in access exclusive mode").format(sql.SQL(", ").join(relation.sql for relation in relations))
        with self.lock_timeout():
            while True:
                try:
                    with self.connection.transaction():
                        self.connection.execute(lock)
                    return
                except psycopg.errors.LockNotAvailable:
                    if time.monotonic() > self.deadline:
                        raise
                    time.sleep(LOCK_RETRY.delay(1))

    @contextmanager
    def lock_timeout(self) -> Iterator[None]:
        """Limit how long each statement inside the block waits for a lock."""
        self.connection.execute(sql.SQL("set local lock_timeout = {}").format(LOCK_TIMEOUT))
        yield
        self.connection.execute("set local lock_timeout = default")
