"""The staging relations in which dbt builds marts before they are published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import (
    MATERIALIZED_VIEW,
    TABLE,
    VIEW,
    Relation,
    dependents_of,
    qualified_names,
    read_relations,
    views_reading,
)
from refresh_runner.postgres.connection import first_line, short_transaction
from refresh_runner.publish import own_relations
from refresh_runner.publish.derived_names import dbt_intermediates, previous_relation, staging_relation
from refresh_runner.publish.options import Mart, NotPublishableError
from refresh_runner.publish.own_relations import RelationOrigin


def prepare_staging(connection: psycopg.Connection, marts: Sequence[Mart], kept: Collection[Relation], origin: RelationOrigin) -> None:
    """Create the staging schemas, and drop what earlier runs left there. `kept` are marts whose staging relation of this run is reused.

    Raise NotPublishableError, with nothing changed, if a relation that no refresh created uses one of the names.
    """
    own_relations.prepare(connection)
    with short_transaction(connection):
        refuse_foreign_relations(connection, marts)
        for mart in marts:
            check_replaceable(connection, mart.relation)
        # Publishing will drop these. Dropping them now makes a dependent object fail the run before anything is built.
        with connection.transaction(force_rollback=True):
            drop_tables(connection, [found.relation for found in own_relations.existing(connection, previous_relations(marts))])
        found = own_relations.existing(connection, [place for mart in marts for place in _staging_places(mart)])
        reused = {each.relation for each in found if each.run_id == origin.run_id} & {staging_relation(relation) for relation in kept}
        drop_tables(connection, [each.relation for each in found if each.relation not in reused])
        for schema in sorted({staging_relation(mart.relation).schema for mart in marts}):
            own_relations.create_schema(connection, schema, origin)


def drop_staging(connection: psycopg.Connection, marts: Sequence[Mart]) -> None:
    """Drop all staging relations of the marts that a refresh created, in whatever state dbt left them."""
    own_relations.drop_owned(connection, [place for mart in marts for place in _staging_places(mart)])
    own_relations.drop_empty_schemas(connection, {staging_relation(mart.relation).schema for mart in marts})


def previous_relations(marts: Iterable[Mart]) -> list[Relation]:
    """Return the previous relation of each mart, whether or not it exists."""
    return [previous_relation(mart.relation) for mart in marts]


def _staging_places(mart: Mart) -> list[Relation]:
    """Return the staging relation of a mart, and dbt's intermediate names of it."""
    place = staging_relation(mart.relation)
    return [place, *dbt_intermediates(place)]


def refuse_foreign_relations(connection: psycopg.Connection, marts: Sequence[Mart]) -> None:
    """Raise NotPublishableError if a relation that no refresh created uses the name of a staging or previous relation."""
    refuse_foreign(connection, [*previous_relations(marts), *(place for mart in marts for place in _staging_places(mart))])


def refuse_foreign(connection: psycopg.Connection, places: Iterable[Relation]) -> None:
    """Raise NotPublishableError if no refresh created one of these relations."""
    if foreign := [str(found.relation) for found in own_relations.existing(connection, places) if not found.is_owned]:
        is_one = len(foreign) == 1
        raise NotPublishableError(
            f"{', '.join(foreign)} already {'exists' if is_one else 'exist'} and {'was' if is_one else 'were'} not created by a refresh:"
            f" publishing needs {'this name' if is_one else 'these names'}; rename, move or drop {'it' if is_one else 'them'}"
        )


def check_replaceable(connection: psycopg.Connection, relation: Relation) -> None:
    """Raise NotPublishableError if a table cannot replace the live relation, which must be a table or a view without dependents."""
    with qualified_names(connection):
        live = read_relations(connection, [relation], {}).get(relation)
        if live is None or live.kind == TABLE:
            return
        if live.kind not in (VIEW, MATERIALIZED_VIEW) or views_reading(connection, live.oid) or dependents_of(connection, live.oid):
            raise NotPublishableError(
                f"{relation} already exists and is not a table that can be published: drop it, or set publish: Direct"
            )


def drop_tables(connection: psycopg.Connection, relations: Sequence[Relation]) -> None:
    """Drop the tables. Raise NotPublishableError if another object depends on one of them."""
    if not relations:
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(relation.sql for relation in relations)))
    except psycopg.errors.DependentObjectsStillExist as error:
        dependents = "; ".join((error.diag.message_detail or first_line(error)).splitlines())
        raise NotPublishableError(
            f"cannot drop {', '.join(map(str, relations))}, which a refresh created and now replaces: {dependents}; drop what depends on it"
        ) from error
