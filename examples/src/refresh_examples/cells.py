"""Converts the generator's plain numbers to the values of a record and to the text of PostgreSQL's COPY.

Amounts are hundredths, days count from year 1 (`date.toordinal`), times are seconds since 1970. Numbers are
quick to generate; seven million dates and decimals are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import NamedTuple, cast, get_args, get_type_hints

from refresh_examples.journal import Cells

EPOCH = date(1970, 1, 1).toordinal()
DAY = 86_400
"""In seconds."""

_LINES_A_BLOCK = 2_000
_NULL = r"\N"

Cell = int | str | None
Value = int | str | Decimal | date | datetime | None


def records(kind: type[NamedTuple], lines: Iterable[Cells]) -> Iterator[NamedTuple]:
    """Yield the lines as records of a type."""
    readers = [_READERS[type_] for type_ in _types(kind)]
    for line in lines:
        yield kind._make([None if cell is None else read(cell) for read, cell in zip(readers, line, strict=True)])


def text(kind: type[NamedTuple], lines: Iterable[Cells]) -> Iterator[tuple[int, str]]:
    """Yield blocks of lines in COPY's text format, each with its number of lines."""
    writers = [_WRITERS[type_] for type_ in _types(kind)]
    rest = iter(lines)
    while block := list(islice(rest, _LINES_A_BLOCK)):
        columns = [write(column) for write, column in zip(writers, zip(*block, strict=True), strict=True)]
        yield len(block), "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n"


def _types(kind: type[NamedTuple]) -> list[type]:
    """Return the type of each field, without None."""
    return [(get_args(hint) or (hint,))[0] for hint in get_type_hints(kind).values()]


def _amount(cell: Cell) -> Decimal:
    return Decimal(cell or 0).scaleb(-2)


def _date(cell: Cell) -> date:
    return date.fromordinal(int(cell or 0))


def _moment(cell: Cell) -> datetime:
    return datetime.fromtimestamp(int(cell or 0), UTC)


def _itself(cell: Cell) -> Cell:
    return cell


_READERS: dict[type, Callable[[Cell], Value]] = {int: _itself, str: _itself, Decimal: _amount, date: _date, datetime: _moment}


class _Days(dict[int | None, str]):
    """Days as text, each formatted once."""

    def __missing__(self, day: int | None) -> str:
        self[day] = said = _NULL if day is None else date.fromordinal(day).isoformat()
        return said


_days = _Days()
_clock = [f" {second // 3_600:02d}:{second // 60 % 60:02d}:{second % 60:02d}+00:00" for second in range(DAY)]
_cents = [f".{cents:02d}" for cents in range(100)]


def _words(column: Sequence[str | None]) -> list[str]:
    return [_NULL if word is None else word.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n") for word in column]


def _integers(column: Sequence[int | None]) -> list[str]:
    return [_NULL if number is None else str(number) for number in column]


def _amounts(column: Sequence[int | None]) -> list[str]:
    return [_NULL if amount is None else f"{'-' * (amount < 0)}{abs(amount) // 100}{_cents[abs(amount) % 100]}" for amount in column]


def _dates(column: Sequence[int | None]) -> list[str]:
    return [_days[day] for day in column]


def _moments(column: Sequence[int | None]) -> list[str]:
    return [_NULL if moment is None else _days[moment // DAY + EPOCH] + _clock[moment % DAY] for moment in column]


Writer = Callable[[Sequence[Cell]], list[str]]
_WRITERS: dict[type, Writer] = {
    int: cast(Writer, _integers),
    str: cast(Writer, _words),
    Decimal: cast(Writer, _amounts),
    date: cast(Writer, _dates),
    datetime: cast(Writer, _moments),
}
