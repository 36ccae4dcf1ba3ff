"""Makes the previous relations of marts live again, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

from refresh_runner.publish import own_relations
from refresh_runner.publish.derived_names import previous_relation, staging_relation
from refresh_runner.publish.live import make_live
from refresh_runner.publish.options import Mart, NotPublishableError, PublishOptions, PublishResults
from refresh_runner.publish.publish_set import load_publish_set
from refresh_runner.publish.staging import previous_relations, refuse_foreign_relations
from refresh_runner.publish.swap import change_schema
from refresh_runner.publish.transaction import PublishTransaction


def rollback(
    connection: psycopg.Connection, marts: Sequence[Mart], record: Callable[[PublishResults], None], options: PublishOptions
) -> PublishResults:
    """Make the previous relations live, all or none. The live tables become the previous relations. Raises the same errors as `publish`."""
    transaction = PublishTransaction(connection, options)
    transaction.prepare(marts)
    with transaction.begin():
        transaction.create_schemas(marts)
        refuse_foreign_relations(connection, marts)
        found = {each.relation for each in own_relations.existing(connection, previous_relations(marts))}
        if missing := [mart.relation for mart in marts if previous_relation(mart.relation) not in found]:
            raise NotPublishableError(f"there is no previous relation of {missing[0]}")
        # The previous relations are published like newly built ones: from staging.
        own_relations.drop_owned(connection, [staging_relation(mart.relation) for mart in marts])
        for mart in marts:
            change_schema(connection, previous_relation(mart.relation), staging_relation(mart.relation).schema)
        results = make_live(transaction, load_publish_set(connection, marts, compare_foreign_keys=False))
        own_relations.drop_empty_schemas(connection, {staging_relation(mart.relation).schema for mart in marts})
        record(results)
    return results
