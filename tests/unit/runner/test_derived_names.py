"""Names derived from a mart's name: PostgreSQL never truncates them, they are unique, and the mart can be found from them."""

from __future__ import annotations

from random import Random

import pytest

from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.derived_names import (
    dbt_intermediates,
    is_derived,
    live_relations,
    name_conflicts,
    previous_relation,
    replaced_relation,
    staging_relation,
    truncate_identifier,
)


def test_short_names_have_their_suffix() -> None:
    """As in earlier versions."""
    mart = Relation("marts", "a")
    assert [str(place(mart)) for place in (staging_relation, previous_relation, replaced_relation)] == [
        "marts__next.a",
        "marts__previous.a",
        "marts__replaced.a",
    ]
    assert [str(place) for place in dbt_intermediates(mart)] == ["marts.a__dbt_tmp", "marts.a__dbt_backup"]


def schemas() -> list[str]:
    """Generate schemas of up to 63 bytes, many with the same beginning, in ASCII and letters of two to four bytes."""
    dice = Random(21)
    found = {"é" * 31, "é" * 31 + "e", "漢" * 21, "😀" * 15 + "abc"}
    for size in range(1, 64):
        found |= {"m" * size, truncate_identifier("é" * size), "m" * (size - 1) + "n"}
        found |= {truncate_identifier("m" * 40 + "".join(dice.choices("abé漢", k=size))) for _ in range(20)}
    return sorted(found)


def test_no_two_of_them_are_ever_one() -> None:
    """PostgreSQL does not truncate them, they differ from each other and from all live schemas, and each identifies its mart."""
    live = [Relation(schema, "a") for schema in schemas()]
    assert len(live) > 1000
    made = [place(mart) for mart in live for place in (staging_relation, previous_relation, replaced_relation)]
    assert max(len(each.schema.encode()) for each in made) == 63
    assert len({*made, *live}) == len(made) + len(live)
    assert live_relations(map(staging_relation, live), live) == live
    # Control: truncated as PostgreSQL does, they are the same.
    cut = {truncate_identifier(mart.schema + suffix) for mart in live for suffix in ("__next", "__previous", "__replaced")}
    assert len(cut | {mart.schema for mart in live}) < len(made) + len(live)


@pytest.mark.parametrize(
    ("built", "swapped", "problem"),
    [
        ([Relation("m" * 63, "a" * 63)], [], ""),
        ([Relation("m", "a" * 51), Relation("m", "a" * 62)], [], ""),
        ([Relation("m" * 64, "a")], [], "has 64 bytes, and PostgreSQL truncates names at 63: give it a shorter schema"),
        ([Relation("m", "é" * 32)], [], "has 64 bytes, and PostgreSQL truncates names at 63: give it a shorter alias"),
        ([Relation("m", "é" * 31 + "e")], [], "dbt's intermediate names of m.é"),
        ([Relation("m", "é" * 29)], [], "dbt's intermediate names of m.é"),
        (
            [Relation("m", "a"), Relation("m", "a__dbt_tmp")],
            [],
            "m.a__dbt_tmp itself and dbt's intermediate name of m.a",
        ),
        ([Relation("m", "a"), Relation("m", "a__dbt_backup")], [], "m.a__dbt_backup is both"),
        (
            [Relation("m", "a"), Relation("m__next", "a")],
            [Relation("m", "a")],
            "m__next.a itself and the staging relation of m.a",
        ),
        ([Relation("m", "a"), Relation("m__previous", "a")], [Relation("m", "a")], "m__previous.a is both"),
        ([Relation("m", "a"), Relation("m__next", "a__dbt_tmp")], [Relation("m", "a")], "m__next.a__dbt_tmp is both"),
        ([Relation("m", "a"), Relation("m__next", "a")], [], ""),
    ],
)
def test_names_that_cannot_work_are_said(built: list[Relation], swapped: list[Relation], problem: str) -> None:
    """The message says what to do. Names that only look dangerous are accepted."""
    found = list(name_conflicts(built, swapped))
    assert (problem in found[0]) if problem else found == []


@pytest.mark.parametrize("schema", ["marts", "m" * 63, "é" * 31])
def test_a_place_beside_a_mart_is_told_from_the_marts_own(schema: str):
    """Only relations in staging schemas are ever dropped."""
    mart = Relation(schema, "mart")
    assert [is_derived(place) for place in (staging_relation(mart), previous_relation(mart), replaced_relation(mart), mart)] == [
        True,
        True,
        True,
        False,
    ]
