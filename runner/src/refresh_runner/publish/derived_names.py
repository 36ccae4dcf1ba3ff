"""Names derived from a mart's name: its staging and previous relation, and dbt's intermediate names during a build.

PostgreSQL truncates identifiers at 63 bytes without an error. Therefore longer names are truncated here, and made unique by a hash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from typing import Final

from refresh_runner.postgres.catalog import Relation

MAX_IDENTIFIER_BYTES: Final = 63
"""NAMEDATALEN - 1."""
_DIGITS: Final = 12
_NEXT: Final = "__next"
_PREVIOUS: Final = "__previous"
_REPLACED: Final = "__replaced"
_DBT_TEMPORARY: Final = "__dbt_tmp"
_DBT_BACKUP: Final = "__dbt_backup"


def derive_name(name: str, suffix: str) -> str:
    """Return the name with the suffix; if that is too long, the truncated name with a hash of the whole name and the suffix."""
    whole = name + suffix
    if len(whole.encode()) <= MAX_IDENTIFIER_BYTES:
        return whole
    end = f"_{sha256(name.encode()).hexdigest()[:_DIGITS]}{suffix}"
    return truncate_identifier(name, MAX_IDENTIFIER_BYTES - len(end.encode())) + end


def truncate_identifier(name: str, bytes_: int = MAX_IDENTIFIER_BYTES) -> str:
    """Return as many whole characters of a name as fit, like PostgreSQL."""
    return name.encode()[:bytes_].decode(errors="ignore")


def staging_relation(relation: Relation) -> Relation:
    """Return the relation in which a mart is built before it is published."""
    return Relation(derive_name(relation.schema, _NEXT), relation.table)


def previous_relation(relation: Relation) -> Relation:
    """Return the relation in which the previous version of a mart is kept."""
    return Relation(derive_name(relation.schema, _PREVIOUS), relation.table)


def replaced_relation(relation: Relation) -> Relation:
    """Return the relation to which a live table moves during a swap if it is not kept."""
    return Relation(derive_name(relation.schema, _REPLACED), relation.table)


def is_derived(relation: Relation) -> bool:
    """Return whether a relation is in a staging, previous or replaced schema."""
    return relation.schema.endswith((_NEXT, _PREVIOUS, _REPLACED))


def live_relations(places: Iterable[Relation], staged: Iterable[Relation]) -> list[Relation]:
    """Return the live names of these relations. `staged` are the marts that are built in staging relations."""
    live = {staging_relation(relation): relation for relation in staged}
    return [live.get(place, place) for place in places]


def dbt_intermediates(relation: Relation) -> tuple[Relation, Relation]:
    """Return dbt's intermediate names of a relation, temporary and backup, as PostgreSQL truncates them.

    dbt limits the length in characters, PostgreSQL in bytes.
    """
    temporary, backup = (
        truncate_identifier(relation.table[: MAX_IDENTIFIER_BYTES - len(suffix)] + suffix) for suffix in (_DBT_TEMPORARY, _DBT_BACKUP)
    )
    return Relation(relation.schema, temporary), Relation(relation.schema, backup)


def name_conflicts(built: Collection[Relation], staged: Collection[Relation] = ()) -> Iterator[str]:
    """Yield an error, with a remedy, for each name that is too long for PostgreSQL or stands for two relations.

    `built` are the live names of all relations of the project; `staged` those that are built in staging relations.
    """
    owners = defaultdict(list)
    for relation in sorted(built):
        owners[relation].append(f"{relation} itself")
        yield from _too_long(relation)
    for relation in sorted(built):
        if relation in staged:
            for place, what in ((staging_relation, "staging"), (previous_relation, "previous")):
                owners[place(relation)].append(f"the {what} relation of {relation}")
        temporary, backup = dbt_intermediates(relation)
        if relation in (temporary, backup) or temporary == backup:
            message = f"dbt's intermediate names of {relation} collide, because PostgreSQL truncates names at {MAX_IDENTIFIER_BYTES} bytes"
            yield f"{message}: give the model a shorter alias"
    for relation in sorted(set(built) | {staging_relation(each) for each in staged}):
        for intermediate in dbt_intermediates(relation):
            if intermediate != relation and intermediate in owners:
                owners[intermediate].append(f"dbt's intermediate name of {relation}")
    for name, meanings in owners.items():
        if len(meanings) > 1:
            yield f"{name} is both {' and '.join(meanings)}: give one of them another schema or alias"


def _too_long(relation: Relation) -> Iterator[str]:
    for name, what, where in ((relation.schema, "schema", "schema"), (relation.table, "name", "alias")):
        if (size := len(name.encode())) > MAX_IDENTIFIER_BYTES:
            limit = MAX_IDENTIFIER_BYTES
            yield f"the {what} {name} of {relation} has {size} bytes, and PostgreSQL truncates names at {limit}: give it a shorter {where}"
