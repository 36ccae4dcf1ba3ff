"""From records to the lines of a source's journal: doubled, corrected, tied, withdrawn and restored ones among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from random import Random
from typing import TypeVar

from refresh_examples.records import Demande, Emploi, Facture, Indemnisation, Paiement

L = TypeVar("L", Demande, Indemnisation, Emploi, Facture, Paiement)

# Of a hundred records, how many (cumulated) have this history; all others have a single line.
_DOUBLED, _CORRECTED, _OUT_OF_ORDER, _TIED, _WITHDRAWN, _RESTORED = 0.01, 0.05, 0.06, 0.065, 0.08, 0.083


def lines(draw: Random, records: Iterable[L], earlier: Callable[[L], L]) -> Iterator[L]:
    """Every record's lines, numbered in the order in which they arrived; `earlier` is what a record first said."""
    number = 0
    for record in records:
        for line in _history(draw.random(), record, earlier):
            number += 1
            yield line._replace(numero_ligne=number)


def _history(luck: float, record: L, earlier: Callable[[L], L]) -> tuple[L, ...]:
    if luck >= _RESTORED:
        return (record,)
    before = record.updated_at - timedelta(days=3)
    after = record.updated_at + timedelta(hours=5)
    if luck < _DOUBLED:
        return (record, record)
    if luck < _CORRECTED:
        return (earlier(record)._replace(updated_at=before), record)
    if luck < _OUT_OF_ORDER:
        return (record, earlier(record)._replace(updated_at=before))
    if luck < _TIED:
        return (earlier(record), record)
    withdrawn = record._replace(updated_at=after, deleted_at=after)
    if luck < _WITHDRAWN:
        return (record, withdrawn)
    return (record, withdrawn, record._replace(updated_at=after + timedelta(hours=1)))
