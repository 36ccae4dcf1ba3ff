"""Rules for the expected content of marts, tested separately, since the SQL is compared with it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from refresh_examples.records import Facture, Paiement
from refresh_examples.truth.financier import creances_agees
from refresh_examples.truth.rules import mean, share, standing

DAY = date(2026, 6, 30)


def line(amount: int, number: int, day: int, *, withdrawn: bool = False) -> Facture:
    """Return a line of invoice 1 of that day in January."""
    moment = datetime(2026, 1, day, tzinfo=UTC)
    return Facture(1, 1, 1, date(2026, 1, 1), None, Decimal(amount), number, moment, moment if withdrawn else None)


@pytest.mark.parametrize(
    ("lines", "amounts"),
    [
        ([line(1, 1, 1), line(2, 2, 2)], [2]),
        ([line(1, 1, 2), line(2, 2, 1)], [1]),
        ([line(1, 1, 1), line(2, 2, 1)], [2]),
        ([line(2, 2, 1), line(1, 1, 1)], [2]),
        ([line(1, 1, 1), line(1, 2, 2, withdrawn=True)], []),
        ([line(1, 1, 1, withdrawn=True), line(3, 2, 2)], [3]),
    ],
    ids=["corrected", "out of order", "tied", "tied, read backwards", "withdrawn", "restored"],
)
def test_the_line_that_came_last_stands(lines: list[Facture], amounts: list[int]) -> None:
    """By the time of the source, then by arrival; a withdrawn record is omitted."""
    assert [found.montant_ttc for found in standing(lines)] == amounts


def test_halves_are_rounded_away_from_zero() -> None:
    """As PostgreSQL rounds."""
    assert share(1, 16) == Decimal("0.0625")
    assert share(-1, 32_000) == Decimal("0.0000")
    assert mean([1, 0, 0, 0, 0, 0, 0, 0]) == Decimal("0.13")


@pytest.mark.parametrize(
    ("due", "band"),
    [
        (date(2026, 7, 15), "0-30"),
        (date(2026, 5, 31), "0-30"),
        (date(2026, 5, 30), "31-60"),
        (date(2026, 4, 1), "61-90"),
        (date(2026, 3, 31), "91-180"),
        (date(2026, 1, 1), "91-180"),
        (date(2025, 12, 31), "plus de 180"),
    ],
)
def test_age_bands_change_at_their_borders(due: date, band: str) -> None:
    """Days 30 and 31, up to days 180 and 181."""
    invoice = line(100, 1, 1)._replace(date_echeance=due)
    assert [key[0] for key in creances_agees([invoice], [], DAY)] == [band]


def test_a_later_payment_does_not_count() -> None:
    """An amount that is paid later is still open on that day."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    paid = [Paiement(n, 1, day, Decimal(40), n, moment, None) for n, day in enumerate([DAY, date(2026, 7, 1)], start=1)]
    (row,) = creances_agees([line(100, 1, 1)], paid, DAY).values()
    assert row["montant_encours"] == Decimal(60)
