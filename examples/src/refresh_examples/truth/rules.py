"""Rules that several marts share, in Python: which line of a journal is valid, what has happened, how to round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from hashlib import md5
from typing import TypeVar

from refresh_examples.records import Demande, Emploi, Entreprise, Facture, Indemnisation, Paiement, Zone

Value = int | Decimal | str | date | None
Row = Mapping[str, Value]
Key = tuple[Value, ...]
Mart = Mapping[Key, Row]
Period = tuple[int | None, int | None]

Line = TypeVar("Line", Zone, Entreprise, Demande, Indemnisation, Emploi, Facture, Paiement)

CENT = Decimal("0.01")


def standing(lines: Iterable[Line]) -> list[Line]:
    """Return the valid records: the last line of each id, unless it withdraws the record.

    The last line is the one with the latest time of the source, or of those with equal times the one that arrived last.
    """
    last: dict[object, Line] = {}
    for line in lines:
        held = last.get(line[0])
        if held is None or (line.updated_at, line.numero_ligne) > (held.updated_at, held.numero_ligne):
            last[line[0]] = line
    return [line for line in last.values() if line.deleted_at is None]


def happened(day: date | None, as_of: date) -> bool:
    """Return whether an event of that day has happened; an event without a date counts as happened."""
    return day is None or day <= as_of


def known(day: date | None, as_of: date) -> date | None:
    """Return the day, or None if it is in the future."""
    return day if day is not None and day <= as_of else None


def period(day: date | None) -> Period:
    """Return year and month."""
    return (day.year, day.month) if day else (None, None)


_MONTHS = "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre".split()


def named(month: int | None) -> Row:
    """Return a month's quarter and name."""
    if month is None:
        return {"trimestre": None, "nom_mois": None}
    return {"trimestre": 1 + (month - 1) // 3, "nom_mois": _MONTHS[month - 1]}


def tidied(word: str | None) -> str | None:
    """Return a code without blanks, in lower case."""
    return (word or "").strip().lower() or None


def days(start: date | None, end: date | None) -> int | None:
    """Return the days between two dates; None if one is unknown."""
    return (end - start).days if start and end else None


def mean(values: Sequence[int]) -> Decimal | None:
    """Return the mean with two decimals; None without values."""
    return (Decimal(sum(values)) / len(values)).quantize(CENT, ROUND_HALF_UP) if values else None


def share(part: int | Decimal | None, whole: int | Decimal | None) -> Decimal | None:
    """Return a ratio with four decimals; None for a zero denominator."""
    if part is None or not whole:
        return None
    return (Decimal(part) / Decimal(whole)).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def key_of(*parts: Value) -> str:
    """Return the surrogate key of a mart's row."""
    text = "|".join("~" if part is None else str(part) for part in parts)
    return md5(text.encode(), usedforsecurity=False).hexdigest()
