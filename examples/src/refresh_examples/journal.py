"""Turns records into a source's journal, with duplicate, corrected, tied, withdrawn and restored lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random

Cells = tuple[int | str | None, ...]
"""A line as plain numbers and texts (see `cells`)."""

Record = tuple[Cells, int]
"""A record's content without number and times, and when the source learned it, in seconds since 1970."""

_HOUR, _DAY = 3_600, 86_400

# Cumulated percentage of records with each history; all others have a single line.
_DOUBLED, _CORRECTED, _OUT_OF_ORDER, _TIED, _WITHDRAWN, _RESTORED = 0.01, 0.05, 0.06, 0.065, 0.08, 0.083


def lines(draw: Random, records: Iterable[Record], earlier: Callable[[Cells], Cells]) -> Iterator[Cells]:
    """Yield every record's lines, numbered in the order of arrival; `earlier` is the content before a correction."""
    luck = draw.random
    number = 0
    for said, known in records:
        drawn = luck()
        if drawn >= _RESTORED:
            number += 1
            yield (*said, number, known, None)
            continue
        for saying, moment, withdrawn in _history(drawn, said, known, earlier):
            number += 1
            yield (*saying, number, moment, withdrawn)


def _history(luck: float, said: Cells, known: int, earlier: Callable[[Cells], Cells]) -> tuple[tuple[Cells, int, int | None], ...]:
    once = (said, known, None)
    before, after = known - 3 * _DAY, known + 5 * _HOUR
    if luck < _DOUBLED:
        return (once, once)
    if luck < _CORRECTED:
        return ((earlier(said), before, None), once)
    if luck < _OUT_OF_ORDER:
        return (once, (earlier(said), before, None))
    if luck < _TIED:
        return ((earlier(said), known, None), once)
    withdrawn = (said, after, after)
    if luck < _WITHDRAWN:
        return (once, withdrawn)
    return (once, withdrawn, (said, after + _HOUR, None))
