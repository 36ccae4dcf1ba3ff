"""Publishes marts by replacing the live tables with the staged ones: a change of schema under an ACCESS EXCLUSIVE lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import (
    MATERIALIZED_VIEW,
    TABLE,
    Relation,
    View,
    dependents_of,
    qualified_names,
    views_reading,
)
from refresh_runner.postgres.connection import first_line
from refresh_runner.publish import attributes, own_relations, replication
from refresh_runner.publish.attributes import AttributePair
from refresh_runner.publish.derived_names import previous_relation, replaced_relation, staging_relation
from refresh_runner.publish.merge import count_rows
from refresh_runner.publish.options import Mart, NotPublishableError, PublishResult, PublishResults, PublishStrategy
from refresh_runner.publish.publish_set import PublishSet
from refresh_runner.publish.staging import check_replaceable, drop_tables
from refresh_runner.publish.transaction import PublishTransaction


def swap_all(transaction: PublishTransaction, publish_set: PublishSet, reasons: Mapping[Relation, str]) -> PublishResults:
    """Swap the marts in `reasons`, whose values say why each is not merged. Raise NotPublishableError if one would lose something."""
    marts = [mart for mart in publish_set.marts if mart.relation in reasons]
    swapped_oids = [publish_set.live[mart.relation].oid for mart in marts if mart.relation in publish_set.live]
    for mart in marts:
        _check_swappable(transaction.connection, publish_set, mart, reasons[mart.relation], swapped_oids)
    live = {mart.relation: publish_set.live.get(mart.relation) for mart in marts}
    transaction.lock([relation for relation, info in live.items() if info and info.kind != MATERIALIZED_VIEW])
    return {mart.relation: _Swap(transaction, publish_set, mart).perform() for mart in marts}


def _check_swappable(connection: psycopg.Connection, publish_set: PublishSet, mart: Mart, why: str, swapped_oids: Sequence[int]) -> None:
    """Raise NotPublishableError if something that belongs to the live table would be lost or left behind."""
    target, live, staged = mart.relation, publish_set.live.get(mart.relation), publish_set.staged[mart.relation]
    if live is None:
        return
    with qualified_names(connection):
        views = views_reading(connection, live.oid)
        on_staged = dependents_of(connection, staged.oid, swapped_oids)
        dependents = [each for each in dependents_of(connection, live.oid, swapped_oids) if each not in on_staged]
    if live.kind != TABLE:
        check_replaceable(connection, target)
    if lost := [*dependents, *live.missing_in(staged)]:
        raise NotPublishableError(
            f"{target} {why}, and a new table cannot take its place while these depend on it: {', '.join(sorted(lost))};"
            " drop them, or have the model create them, or apply the model's change to the table by hand"
        )
    user = connection.info.user
    for view in views:
        if view.missing_privilege == "owner":
            raise NotPublishableError(
                f"{target} {why}, and the view {view.name}, which reads it, is owned by {view.owner}: only its owner can recreate it;"
                f" grant {view.owner} to {user}, or give the view to that role, or drop it"
            )
        if view.missing_privilege:
            raise NotPublishableError(
                f"{target} {why}, and recreating the view {view.name}, which reads it, needs CREATE on its schema:"
                f" grant create on schema {view.missing_privilege} to {user}, or drop the view"
            )


class _Swap:
    """The swap of one mart's staged table."""

    def __init__(self, transaction: PublishTransaction, publish_set: PublishSet, mart: Mart) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._mart = mart
        self._live = publish_set.live.get(mart.relation)
        self._staged = publish_set.staged[mart.relation]
        self._views: list[View] = []
        self._statistics: list[str] = []

    def perform(self) -> PublishResult:
        """Replace the live table. Views that read the old table read the new one afterwards."""
        target, is_republished = self._mart.relation, self._mart.relation in self._transaction.options.republish
        # A table that this run itself has published is not kept; it is dropped once no view reads it.
        old = replaced_relation(target) if is_republished else previous_relation(target)
        has_old = bool(self._live and self._live.kind == TABLE)
        created_schema = is_republished and own_relations.create_schema_if_missing(self._connection, old.schema)
        if has_old:
            self._move_away(old)
            if not is_republished:
                own_relations.register(self._connection, old, self._transaction.options.origin)
        elif self._live:
            self._drop_view()
        self._move_in()
        if is_republished and has_old:
            drop_tables(self._connection, [old])
        if created_schema:
            self._connection.execute(sql.SQL("drop schema {}").format(sql.Identifier(old.schema)))
        rows = count_rows(self._connection, target)
        return PublishResult(PublishStrategy.SWAP if self._live else PublishStrategy.CREATE, rows, rows)

    def _move_away(self, place: Relation) -> None:
        target, live, staged = self._mart.relation, self._live, self._staged
        if live is None:
            return
        with qualified_names(self._connection):
            self._views = views_reading(self._connection, live.oid)
            self._statistics = attributes.take_statistics(self._connection, live.oid, staged.traits)
        pair = AttributePair(live.oid, staged.oid, target, self._mart.grants_declared, self._mart.comments_declared)
        attributes.copy_to_staging(self._connection, [pair])
        change_schema(self._connection, target, place.schema)

    def _drop_view(self) -> None:
        kind = sql.SQL("materialized view" if self._live and self._live.kind == MATERIALIZED_VIEW else "view")
        # LOCK TABLE does not support materialized views, so the lock is only requested here.
        with self._transaction.lock_timeout():
            self._connection.execute(sql.SQL("drop {} {}").format(kind, self._mart.relation.sql))

    def _move_in(self) -> None:
        target = self._mart.relation
        change_schema(self._connection, staging_relation(target), target.schema)
        own_relations.unregister(self._connection, target)
        attributes.apply_default_privileges(self._connection, [AttributePair(self._staged.oid, self._staged.oid, target)])
        for view in self._views:
            self._recreate(view.statement, f"the view {view.name} reads {target} and does not work on its new version", "the view")
        for statement in self._statistics:
            self._recreate(statement, f"the extended statistics on {target} cannot be created on its new version", "them")
        for identity in replication.replica_identity_statements(self._connection, [target]).values():
            self._connection.execute(identity)

    def _recreate(self, statement: str, problem: str, what: str) -> None:
        try:
            self._connection.execute(statement.encode())
        except psycopg.Error as error:
            raise NotPublishableError(f"{problem}: {first_line(error)}; change or drop {what}") from error


def change_schema(connection: psycopg.Connection, relation: Relation, schema: str) -> None:
    """Move a table to another schema."""
    connection.execute(sql.SQL("alter table {} set schema {}").format(relation.sql, sql.Identifier(schema)))
