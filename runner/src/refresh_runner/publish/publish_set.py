"""The marts of one publish with their live and staged tables: which can be merged, and which must be swapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import (
    TABLE,
    ForeignKey,
    Relation,
    RelationInfo,
    foreign_keys_referencing,
    qualified_names,
    read_relations,
)
from refresh_runner.postgres.standbys import Standby, attached_standbys
from refresh_runner.publish.attributes import AttributePair
from refresh_runner.publish.derived_names import staging_relation
from refresh_runner.publish.merge import Merge, can_merge
from refresh_runner.publish.options import Mart, NotPublishableError

_MERGE_ROWS: Final = 1_000_000
"""Tables with more rows are swapped: comparing a million rows takes some ten seconds."""
_MERGE_ROWS_WITH_STANDBYS: Final = 5_000_000
"""The same where standbys are attached: they replay the lock of a swap, which cancels queries there instead of giving up."""


@dataclass(frozen=True)
class PublishSet:
    """The marts to publish, their live and staged tables, and the foreign keys between them."""

    marts: Sequence[Mart]
    live: Mapping[Relation, RelationInfo]
    """Live tables by mart, if a relation of that name exists."""
    staged: Mapping[Relation, RelationInfo]
    """Staged tables by mart."""
    swap_reasons: Mapping[Relation, str]
    """Marts that cannot be merged, and why."""
    foreign_keys: Sequence[ForeignKey]
    """All foreign keys that reference a live or staged table."""
    standbys: Sequence[Standby] = ()

    @property
    def groups(self) -> list[list[Mart]]:
        """The marts in groups that foreign keys connect and that need the same strategy; in each, referenced tables come first."""
        relation_of = {info.oid: relation for infos in (self.live, self.staged) for relation, info in infos.items()}
        parents: dict[Relation, set[Relation]] = {mart.relation: set() for mart in self.marts}
        for key in self.foreign_keys:
            if key.child in relation_of and relation_of[key.child] != relation_of[key.parent]:
                parents[relation_of[key.child]].add(relation_of[key.parent])
        groups: list[set[Relation]] = []
        for relation, above in parents.items():
            connected = [group for group in groups if group & {relation, *above}]
            groups = [group for group in groups if group not in connected] + [set().union({relation}, above, *connected)]
        return [self._sorted(group, parents) for group in groups]

    def _sorted(self, group: set[Relation], parents: Mapping[Relation, set[Relation]]) -> list[Mart]:
        left, done = sorted(group), list[Relation]()
        while left:
            # In a cycle of references, no mart has all of its parents done: take any.
            ready = next((each for each in left if parents[each] <= set(done)), left[0])
            left.remove(ready)
            done.append(ready)
        mart_of = {mart.relation: mart for mart in self.marts}
        return [mart_of[relation] for relation in done]

    def must_swap(self, group: Sequence[Mart]) -> bool:
        """Return whether any mart of a group cannot be merged."""
        return any(mart.relation in self.swap_reasons for mart in group)

    def attribute_pair(self, mart: Mart) -> AttributePair:
        """Return the staged table as the source of attributes, and the live one as their target."""
        relation = mart.relation
        return AttributePair(self.staged[relation].oid, self.live[relation].oid, relation, mart.grants_declared, mart.comments_declared)

    def merge(self, mart: Mart) -> Merge:
        """Return the merge of a mart's staged rows into its live table."""
        live = self.live[mart.relation]
        key = next((each.key for each in self.foreign_keys if each.parent == live.oid), ())
        return Merge(mart.relation, staging_relation(mart.relation), live, self.staged[mart.relation], key)


def load_publish_set(connection: psycopg.Connection, marts: Sequence[Mart], *, compare_foreign_keys: bool = True) -> PublishSet:
    """Read the live and staged tables of the marts. Raise NotPublishableError if one was not built as a table.

    `compare_foreign_keys` is False for previous relations, which have no foreign keys.
    """
    live_schemas = {staging_relation(mart.relation).schema: mart.relation.schema for mart in marts}
    with qualified_names(connection):
        found = read_relations(
            connection, [place for mart in marts for place in (mart.relation, staging_relation(mart.relation))], live_schemas
        )
    live = {mart.relation: found[mart.relation] for mart in marts if mart.relation in found}
    staged = {mart.relation: found[staging_relation(mart.relation)] for mart in marts if staging_relation(mart.relation) in found}
    for mart in marts:
        if mart.relation not in staged or staged[mart.relation].kind != TABLE:
            raise NotPublishableError(f"{staging_relation(mart.relation)} is not a table: dbt built nothing that can be published")
    keys = foreign_keys_referencing(connection, [info.oid for infos in (live, staged) for info in infos.values()])
    standbys = attached_standbys(connection)
    limit = _MERGE_ROWS_WITH_STANDBYS if standbys else _MERGE_ROWS
    reasons: dict[Relation, str] = {}
    for relation, info in staged.items():
        if relation not in live:
            reasons[relation] = "is new"
        elif not can_merge(live[relation], info, compare_foreign_keys=compare_foreign_keys):
            reasons[relation] = "changed its columns, constraints or indexes, or what the model does to it"
        elif _has_more_rows(connection, staging_relation(relation), limit):
            reasons[relation] = f"has more than {limit} rows"
    return PublishSet(marts, live, staged, reasons, keys, standbys)


def _has_more_rows(connection: psycopg.Connection, relation: Relation, limit: int) -> bool:
    query = sql.SQL("select count(*) > {} from (select from only {} limit {}) as counted").format(limit, relation.sql, limit + 1)
    return connection.execute(query).fetchone() == (True,)
