"""Names that are made from a mart's: where it is built, where its previous generation is kept, and what dbt calls it while it builds.

PostgreSQL cuts every name at 63 bytes, without an error. So what does not fit is cut here, at a whole letter, and told apart by a hash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from typing import Final

from refresh_runner.postgres.catalog import Relation

LONGEST: Final = 63
"""Bytes of a name that PostgreSQL keeps (NAMEDATALEN - 1)."""
_DIGITS: Final = 12
_NEXT: Final = "__next"
_PREVIOUS: Final = "__previous"
_REPLACED: Final = "__replaced"
_DBT_TEMPORARY: Final = "__dbt_tmp"
_DBT_BACKUP: Final = "__dbt_backup"


def derived(name: str, suffix: str) -> str:
    """Return name and suffix where PostgreSQL keeps both; else what fits of the name, a hash of the whole name, and the suffix."""
    whole = name + suffix
    if len(whole.encode()) <= LONGEST:
        return whole
    end = f"_{sha256(name.encode()).hexdigest()[:_DIGITS]}{suffix}"
    return clipped(name, LONGEST - len(end.encode())) + end


def clipped(name: str, bytes_: int = LONGEST) -> str:
    """Return as many whole letters of a name as fit, as PostgreSQL does."""
    return name.encode()[:bytes_].decode(errors="ignore")


def beside(relation: Relation) -> Relation:
    """Return where a mart is built before it is published."""
    return Relation(derived(relation.schema, _NEXT), relation.table)


def before(relation: Relation) -> Relation:
    """Return where a mart's previous generation is kept."""
    return Relation(derived(relation.schema, _PREVIOUS), relation.table)


def aside(relation: Relation) -> Relation:
    """Return where a mart is put while another one takes its place, and is nothing to keep."""
    return Relation(derived(relation.schema, _REPLACED), relation.table)


def is_derived(relation: Relation) -> bool:
    """Return whether a relation is in a schema whose name is derived from a mart's."""
    return relation.schema.endswith((_NEXT, _PREVIOUS, _REPLACED))


def for_readers(places: Iterable[Relation], swapped: Iterable[Relation]) -> list[Relation]:
    """Return where readers find what is built at these places, some of them beside the live marts that are `swapped`."""
    live = {beside(relation): relation for relation in swapped}
    return [live.get(place, place) for place in places]


def in_passing(relation: Relation) -> tuple[Relation, Relation]:
    """Return what dbt calls a table or view while it builds it, and the one before it, as PostgreSQL then has these names.

    dbt counts letters, PostgreSQL bytes.
    """
    temporary, backup = (clipped(relation.table[: LONGEST - len(suffix)] + suffix) for suffix in (_DBT_TEMPORARY, _DBT_BACKUP))
    return Relation(relation.schema, temporary), Relation(relation.schema, backup)


def unfit(built: Collection[Relation], swapped: Collection[Relation] = ()) -> Iterator[str]:
    """Say which names of what dbt builds can't work on PostgreSQL, or mean two things, each with what to do.

    `built` are all relations of the project where readers find them; `swapped` those of them that are built beside the live ones.
    """
    owners = defaultdict(list)
    for relation in sorted(built):
        owners[relation].append(f"{relation} itself")
        yield from _too_long(relation)
    for relation in sorted(built):
        if relation in swapped:
            for place, what in ((beside, "builds"), (before, "keeps the previous")):
                owners[place(relation)].append(f"the place where publishing {what} {relation}")
        temporary, backup = in_passing(relation)
        if relation in (temporary, backup) or temporary == backup:
            message = f"dbt can't tell {relation} from what it calls it while it builds it, since PostgreSQL cuts names at {LONGEST} bytes"
            yield f"{message}: give the model a shorter alias"
    for relation in sorted(set(built) | {beside(each) for each in swapped}):
        for passing in in_passing(relation):
            if passing != relation and passing in owners:
                owners[passing].append(f"what dbt calls {relation} while it builds it")
    for name, meanings in owners.items():
        if len(meanings) > 1:
            yield f"{name} is both {' and '.join(meanings)}: give one of them another schema or alias"


def _too_long(relation: Relation) -> Iterator[str]:
    for name, what, where in ((relation.schema, "schema", "schema"), (relation.table, "name", "alias")):
        if (size := len(name.encode())) > LONGEST:
            yield f"the {what} {name} of {relation} has {size} bytes, and PostgreSQL cuts names at {LONGEST}: give it a shorter {where}"
