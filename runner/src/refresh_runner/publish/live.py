"""Makes marts live: all marts of a refresh in one transaction, or none.

dbt builds marts in staging schemas (`…__next`), where they are tested and validated. Publishing then makes the live tables equal to them:
it merges rows where both tables have the same schema, which needs no lock that blocks readers, and swaps the tables otherwise. The replaced
data is kept in the previous relation (`…__previous`) until the next publish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.spec import Vacuum
from refresh_runner.core.errors import is_retryable
from refresh_runner.postgres import older_snapshots
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import first_line
from refresh_runner.postgres.standbys import Standby, attached_standbys, deferring_standbys
from refresh_runner.publish import attributes, own_relations
from refresh_runner.publish.derived_names import previous_relation, staging_relation
from refresh_runner.publish.merge import MergeMismatchError, count_rows, merge_all
from refresh_runner.publish.options import Mart, PublishOptions, PublishResult, PublishResults, PublishStrategy
from refresh_runner.publish.publish_set import PublishSet, load_publish_set
from refresh_runner.publish.staging import drop_tables, refuse_foreign
from refresh_runner.publish.swap import swap_all
from refresh_runner.publish.transaction import PublishTransaction

_ANALYZE: Final = sql.SQL("analyze (skip_locked) {}")
_MAINTENANCE: Final = {
    # Readers would otherwise read all dead rows since the last autovacuum. Without truncation, whose lock waits for readers; a table
    # that is locked by somebody else is skipped and left to autovacuum.
    PublishStrategy.MERGE: sql.SQL("vacuum (analyze, truncate off, skip_locked) {}"),
    PublishStrategy.SWAP: _ANALYZE,
    PublishStrategy.CREATE: _ANALYZE,
}


def publish(
    connection: psycopg.Connection, marts: Sequence[Mart], record: Callable[[PublishResults], None], options: PublishOptions
) -> PublishResults:
    """Make all marts live, or none. `record` is called inside the transaction.

    Raise NotPublishableError, or psycopg.Error: LockNotAvailable if no lock was granted within the timeout.
    """
    transaction = PublishTransaction(connection, options)
    transaction.prepare(marts)
    with transaction.begin():
        transaction.create_schemas(marts)
        results = make_live(transaction, load_publish_set(connection, marts))
        record(results)
    return results


def vacuum_analyze(connection: psycopg.Connection, results: PublishResults, vacuum: Vacuum = Vacuum.AUTO) -> list[Standby] | None:
    """Vacuum and analyze the published marts. Raise psycopg.Error if PostgreSQL rejects this, which does not affect the published data.

    Return the standbys that make this defer the vacuum, or None if there are none. In the former case publishing has analyzed the marts.
    """
    because = deferring_standbys(attached_standbys(connection), vacuum)
    for relation, result in results.items() if because is None else ():
        if result.rows_written:
            connection.execute(_MAINTENANCE[result.strategy].format(relation.sql))
    return because


def make_live(transaction: PublishTransaction, publish_set: PublishSet) -> PublishResults:
    """Merge the marts that can be merged and swap the rest, inside the open transaction."""
    connection, options = transaction.connection, transaction.options
    swapped = [mart.relation for group in publish_set.groups if publish_set.must_swap(group) for mart in group]
    new_oids = [publish_set.staged[relation].oid for relation in swapped if relation in publish_set.live]
    # Before any lock is taken: a reader of the version before the last publish could otherwise deadlock with this transaction.
    older_snapshots.wait(connection, new_oids, options.timeout / 4, publish_set.standbys)
    _drop_previous(transaction, publish_set)
    # Merge first, because it blocks nobody. Swap last, because readers wait from then until the commit.
    results, reasons = _merge_groups(transaction, publish_set)
    attributes.copy_to_live(connection, [publish_set.attribute_pair(mart) for mart in publish_set.marts if mart.relation in results])
    drop_tables(connection, [staging_relation(relation) for relation in results])
    if deferring_standbys(publish_set.standbys, options.vacuum) is not None:
        changed = [relation for relation, result in results.items() if result.rows_written]
        _analyze(connection, [*changed, *map(staging_relation, reasons)])
    return {**results, **swap_all(transaction, publish_set, reasons)}


def _drop_previous(transaction: PublishTransaction, publish_set: PublishSet) -> None:
    """Drop the previous relations, except of marts that this run republishes."""
    marts = [mart.relation for mart in publish_set.marts if mart.relation not in transaction.options.republish]
    places = [previous_relation(relation) for relation in marts]
    refuse_foreign(transaction.connection, places)
    drop_tables(transaction.connection, [found.relation for found in own_relations.existing(transaction.connection, places)])


def _merge_groups(transaction: PublishTransaction, publish_set: PublishSet) -> tuple[dict[Relation, PublishResult], Mapping[Relation, str]]:
    """Merge each group of marts that can be merged. Return the results, and the other marts with the reason to swap them."""
    results: dict[Relation, PublishResult] = {}
    reasons: dict[Relation, str] = {}
    for group in publish_set.groups:
        if found := {mart.relation: publish_set.swap_reasons[mart.relation] for mart in group if mart.relation in publish_set.swap_reasons}:
            connected = f"shares a foreign key with {next(iter(found))}"
            reasons |= {mart.relation: found.get(mart.relation) or connected for mart in group}
            continue
        try:
            with transaction.connection.transaction():
                merged = _merge(transaction, publish_set, group)
        except (psycopg.Error, MergeMismatchError) as error:
            if transaction.connection.closed or (isinstance(error, psycopg.Error) and is_retryable(error.sqlstate)):
                raise
            why = str(error) if isinstance(error, MergeMismatchError) else first_line(error)
            reasons |= {mart.relation: f"cannot be changed row by row ({why})" for mart in group}
        else:
            results |= merged
    return results, reasons


def _merge(transaction: PublishTransaction, publish_set: PublishSet, group: Sequence[Mart]) -> dict[Relation, PublishResult]:
    """Copy the live tables to their previous relations, unless this run published them, and merge the staged rows."""
    connection, options = transaction.connection, transaction.options
    merges = [publish_set.merge(mart) for mart in group]
    for merge in merges:
        if merge.target not in options.republish:
            merge.copy_to_previous(connection, previous_relation(merge.target))
            own_relations.register(connection, previous_relation(merge.target), options.origin)
    written = merge_all(connection, merges)
    return {relation: PublishResult(PublishStrategy.MERGE, count_rows(connection, relation), count) for relation, count in written.items()}


def _analyze(connection: psycopg.Connection, relations: Sequence[Relation]) -> None:
    """Analyze the relations inside the transaction.

    After the commit, analyzing one would remove catalog rows that publishing another has replaced, and so cancel queries on standbys.
    """
    for relation in relations:
        connection.execute(_ANALYZE.format(relation.sql))
