"""The generator of source data is deterministic, and has the documented properties at every size."""

from __future__ import annotations

from collections import Counter
from datetime import date
from hashlib import sha256
from typing import Any

import pytest

from refresh_examples.cells import text
from refresh_examples.records import TABLES
from refresh_examples.sources import Sources

DAY = date(2026, 6, 30)


def lines(sources: Sources, table: str) -> list[Any]:
    """Return a table's lines as records."""
    return list(sources.tables()[table]())


def test_the_same_seed_makes_the_same_lines() -> None:
    """Equal for equal seeds, different for another seed."""
    first, again, other = ({name: list(make()) for name, make in Sources(200, seed, DAY).tables().items()} for seed in (1, 1, 2))
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_every_table_is_generated() -> None:
    """The generator has all source tables, in the order of their definition."""
    assert list(Sources(10, 1, DAY).tables()) == list(TABLES)


@pytest.mark.parametrize("rows", [1, 10, 100, 1000])
def test_every_record_is_there(rows: int) -> None:
    """Each main table has the requested number of records, however many lines they take."""
    sources = Sources(rows, 1, DAY)
    assert {line.demande_id for line in lines(sources, "demandes_implantation")} == set(range(1, rows + 1))
    assert {line.facture_id for line in lines(sources, "factures")} == set(range(1, rows + 1))


@pytest.mark.parametrize("rows", [100, 1000, 5000])
def test_few_records_have_no_zone_or_date(rows: int) -> None:
    """About three in a hundred have no zone and one no date, by number and not by chance."""
    found = {line.emploi_id: line for line in lines(Sources(rows, 7, DAY), "emplois")}
    assert 0.02 <= sum(line.zone_id is None for line in found.values()) / rows <= 0.04
    assert 0.005 <= sum(line.date_declaration is None for line in found.values()) / rows <= 0.02


def test_lines_are_numbered_by_arrival() -> None:
    """The number decides which of two lines with equal times came last."""
    numbers = [line.numero_ligne for line in lines(Sources(500, 1, DAY), "indemnisations")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_some_records_are_paid_in_parts_some_never_some_too_much() -> None:
    """The marts of receivables have to handle all of these cases."""
    sources = Sources(2000, 1, DAY)
    payments = Counter(line.facture_id for line in lines(sources, "paiements"))
    invoices = {line.facture_id: line.montant_ttc for line in lines(sources, "factures")}
    assert any(count > 1 for count in payments.values())
    assert any(number not in payments for number in invoices)
    assert any(number not in invoices for number in payments)
    assert any(amount < 0 for amount in invoices.values())


def test_the_lines_of_a_seed_are_the_same_on_every_machine_and_in_every_release() -> None:
    """Measurements on generated data can be repeated: the text of 500 records per table has not changed."""
    written = sha256()
    for table, kind in TABLES.items():
        for _, block in text(kind, Sources(500, 1, DAY).lines(table)):
            written.update(block.encode())
    assert written.hexdigest()[:16] == "329a99a5204198ba"


def test_text_and_records_say_the_same() -> None:
    """PostgreSQL loads the text, and the expected values are computed from the records. Both are compared field by field."""
    sources = Sources(300, 1, DAY)
    for table, kind in TABLES.items():
        blocks = "".join(block for _, block in text(kind, sources.lines(table)))
        said = [["\\N" if value is None else str(value) for value in line] for line in lines(sources, table)]
        assert [line.split("\t") for line in blocks.splitlines()] == said
