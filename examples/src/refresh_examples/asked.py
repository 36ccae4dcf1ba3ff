"""Parse a front end's filters and page from a query string; errors say what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

UNKNOWN = "inconnu"
"""A filter's value for rows in which the source has no value."""
PAGE_ROWS = 50
MOST_ROWS = 200
_MOST_PAGES = 100_000
_GREATEST = 2**31 - 1


class RefusedError(ValueError):
    """An invalid parameter; the message names it and the allowed ones."""


@dataclass(frozen=True)
class Filter:
    """A parameter that filters a dashboard, and the mart's column that it is compared with."""

    name: str
    column: str
    whole: bool
    """Whether the value is an integer."""


Value = int | str | None
Chosen = Mapping[str, Value]


@dataclass(frozen=True)
class Page:
    """A page of the records, counted from 1."""

    number: int
    rows: int


def chosen(parameters: Iterable[tuple[str, str]], filters: Sequence[Filter], further: Sequence[str] = ()) -> Chosen:
    """Return the filters' values by name, None for unknown; raise RefusedError for unknown, repeated or non-integer parameters."""
    by_name = {each.name: each for each in filters}
    found: dict[str, Value] = {}
    for name, text in parameters:
        if name in further:
            continue
        if name not in by_name:
            raise RefusedError(f"{name[:40]!r} is not a filter of this dashboard; its filters are: {', '.join(by_name)}")
        if name in found:
            raise RefusedError(f"{name} is given twice")
        found[name] = None if text == UNKNOWN else _whole(name, text, 0, _GREATEST) if by_name[name].whole else _word(name, text)
    return found


def page(parameters: Mapping[str, str]) -> Page:
    """Return the requested page; raise RefusedError if it is invalid."""
    number = _whole("page", parameters.get("page", "1"), 1, _MOST_PAGES)
    return Page(number, _whole("rows", parameters.get("rows", str(PAGE_ROWS)), 1, MOST_ROWS))


def condition(columns: Mapping[str, sql.Composable], asked: Chosen) -> tuple[sql.Composed, list[int | str]]:
    """Return the SQL condition for the filters and the values to bind; `columns` are expressions by filter."""
    parts = [sql.SQL("{} is null" if value is None else "{} = %s").format(columns[name]) for name, value in asked.items()]
    return sql.SQL(" and ").join([sql.SQL("true"), *parts]), [value for value in asked.values() if value is not None]


def _word(name: str, text: str) -> str:
    if len(text) > 100 or "\0" in text:
        raise RefusedError(f"{name} must be at most 100 characters of text")
    return text


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise RefusedError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}")
    return int(text)
