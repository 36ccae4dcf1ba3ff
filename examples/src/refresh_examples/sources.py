"""A seeded generator of realistic source data: the same seed, size and date give the same lines on any machine.

Among the records are late, missing, duplicate, corrected, withdrawn and restored ones. What must not depend on chance
(the share of records without a zone or a date) follows the record's number, so that it holds at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property, partial
from random import Random
from typing import NamedTuple, TypeVar, cast

from refresh_examples.cells import DAY, EPOCH, records
from refresh_examples.journal import Cells, Record, lines
from refresh_examples.records import TABLES

HISTORY_DAYS = 1095

_REGIONS = ("Littoral", "Centre", "Ouest", "Nord", "Sud", "Est")
_PLACES = ("Bonaberi", "Kribi", "Edea", "Limbe", "Ombe", "Bafoussam", "Garoua", "Maroua", "Ebolowa", "Bertoua")
_SECTORS = ("agroalimentaire", "bois", "chimie", "metallurgie", "logistique", "textile", "energie")
_COUNTRIES = ("CM", "CM", "CM", "CM", "FR", "CN", "NG", "TR", "IN", "GA")
_GOODS = (("terre", 4_000_000), ("culture", 600_000), ("bati", 9_000_000))
_CONTRACTS = ("CDI", "CDI", "CDI", "CDD", "CDD", "INTERIM")


@dataclass(frozen=True)
class Sources:
    """What to generate: `rows` records per main table, as known on the day `as_of`."""

    rows: int
    seed: int
    as_of: date

    @cached_property
    def zone_count(self) -> int:
        """5 to 60 zones, one per 50 records."""
        return min(max(self.rows // 50, 5), 60)

    @cached_property
    def company_count(self) -> int:
        """10 to 20,000 companies, one per 20 records."""
        return min(max(self.rows // 20, 10), 20_000)

    def tables(self) -> dict[str, Callable[[], Iterator[NamedTuple]]]:
        """Return the generator of each table's lines by name; each can be called alone and repeatedly."""
        return {name: partial(self._records, name) for name in TABLES}

    def lines(self, table: str) -> Iterator[Cells]:
        """Yield a table's lines as plain numbers and texts for `cells`: three times as fast as `tables`."""
        return self._makers[table]()

    @cached_property
    def _makers(self) -> dict[str, Callable[[], Iterator[Cells]]]:
        return {
            "zones": self._zones,
            "entreprises": self._entreprises,
            "demandes_implantation": lambda: self._journal("demandes", self._demandes(), _earlier_demande),
            "indemnisations": lambda: self._journal("indemnisations", self._indemnisations(), _earlier_indemnisation),
            "emplois": lambda: self._journal("emplois", self._emplois(), _earlier_emploi),
            "factures": lambda: self._journal("factures", self._factures(), _earlier_facture),
            "paiements": lambda: self._journal("paiements", self._paiements(), _earlier_paiement),
        }

    def _records(self, table: str) -> Iterator[NamedTuple]:
        return records(TABLES[table], self.lines(table))

    def _journal(self, name: str, made: Iterator[Record], earlier: Callable[[Cells], Cells]) -> Iterator[Cells]:
        return lines(self._draw(f"{name}/journal"), made, earlier)

    def _draw(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    @cached_property
    def _today(self) -> int:
        return self.as_of.toordinal()

    def _zones(self) -> Iterator[Cells]:
        """Zones, some with corrected areas; none is withdrawn."""
        draw = self._draw("zones")
        share = Decimal(self.rows * 7_000) / self.zone_count
        known = (self._today - HISTORY_DAYS - EPOCH) * DAY
        for number in range(1, self.zone_count + 1):
            area = int((share * Decimal(60 + int(draw.random() * 90)) / 100).quantize(Decimal("0.01")).scaleb(2))
            name, region = f"Zone {_PLACES[number % len(_PLACES)]} {number}", _REGIONS[number % len(_REGIONS)]
            if number % 7 == 3:
                yield number, name, region, area * 2, 2 * number - 1, known - 9 * DAY, None
            yield number, name, region, area, 2 * number, known, None

    def _entreprises(self) -> Iterator[Cells]:
        """The companies."""
        draw = self._draw("entreprises")
        known = (self._today - HISTORY_DAYS - EPOCH) * DAY
        for number in range(1, self.company_count + 1):
            sector = _SECTORS[int(draw.random() * len(_SECTORS))]
            country = _COUNTRIES[int(draw.random() * len(_COUNTRIES))]
            yield number, f"Societe {sector} {number}", sector, country, number, known, None

    def _demandes(self) -> Iterator[Record]:
        """Requests to settle with their current state; some have a planned start of operation."""
        random, today = self._draw("demandes").random, self._today
        for number in range(1, self.rows + 1):
            asked = self._day(random())
            decided = asked + 5 + int(random() * 120)
            luck = random()
            decision = None if luck < 0.08 or decided > today else "refusee" if luck < 0.3 else "accordee"
            granted = decided + int(random() * 60)
            granted_yet = decision == "accordee" and granted <= today and random() < 0.9
            opened = granted + 60 + int(random() * 340)
            opened_yet = granted_yet and random() < (0.75 if opened <= today else 0.3)
            yield (
                (
                    number,
                    self._zone(number, random()),
                    1 + int(random() * self.company_count),
                    None if number % 101 == 7 else _amount(random(), 500, 14_000),
                    None if number % 97 == 13 else asked,
                    None if decision is None or number % 199 == 5 else decided,
                    _untidy(decision, number),
                    granted if granted_yet else None,
                    opened if opened_yet else None,
                ),
                self._known(asked, random()),
            )

    def _indemnisations(self) -> Iterator[Record]:
        """Compensation cases: unpaid, partly paid, paid, sometimes overpaid."""
        random = self._draw("indemnisations").random
        for number in range(1, self.rows + 1):
            valued = self._day(random())
            paid = valued + 15 + int(random() * 300)
            kind, most = _GOODS[int(random() * 3)]
            due = _amount(random(), most // 20, most)
            luck = random()
            percent = 100 if luck < 0.5 else int(luck * 100) if luck < 0.7 else 103 if luck < 0.71 else 0
            amount = _percent(due, percent) if paid <= self._today + 15 else 0
            yield (
                (
                    number,
                    self._zone(number, random()),
                    None if number % 103 == 8 else f"Beneficiaire {1 + int(random() * self.rows)}",
                    _untidy(kind, number),
                    None if number % 211 == 9 else due,
                    amount,
                    None if number % 97 == 13 else valued,
                    paid if amount and number % 197 != 6 else None,
                ),
                self._known(valued, random()),
            )

    def _emplois(self) -> Iterator[Record]:
        """Declarations of planned and created jobs."""
        random = self._draw("emplois").random
        for number in range(1, self.rows + 1):
            declared = self._day(random())
            planned = 1 + int(random() * random() * 80)
            yield (
                (
                    number,
                    self._zone(number, random()),
                    1 + int(random() * self.company_count),
                    None if number % 97 == 13 else declared,
                    _untidy(_CONTRACTS[int(random() * len(_CONTRACTS))], number),
                    None if number % 53 == 4 else "F" if random() < 0.38 else "H",
                    planned,
                    None if number % 61 == 2 else int(planned * random() * 1.3),
                ),
                self._known(declared, random()),
            )

    def _factures(self) -> Iterator[Record]:
        """Invoices and some credit notes."""
        for number, zone, company, issued, due, amount, known in self._issued():
            yield (number, zone, company, issued, due, amount), known

    def _issued(self) -> Iterator[tuple[int, int | None, int | None, int, int | None, int, int]]:
        random = self._draw("factures").random
        for number in range(1, self.rows + 1):
            issued = self._day(random())
            terms = (30, 30, 60, 90)[int(random() * 4)]
            amount = _amount(random(), 20_000, 3_000_000)
            yield (
                number,
                self._zone(number, random()),
                None if number % 223 == 10 else 1 + int(random() * self.company_count),
                issued,
                None if number % 97 == 13 else issued + terms,
                -amount if number % 47 == 20 else amount,
                self._known(issued, random()),
            )

    def _paiements(self) -> Iterator[Record]:
        """Payments of those invoices: none, one or two each, some reversed, some for invoices that do not exist."""
        random, last = self._draw("paiements").random, self._today + 15
        number = 0
        for invoice, _, _, issued, _, owed, _ in self._issued():
            luck = random()
            if luck < 0.13 or owed < 0:
                continue
            shares = (
                (100,) if luck < 0.7 else (40, 60) if luck < 0.85 else (55,) if luck < 0.97 else (100, 5) if luck < 0.985 else (100, -100)
            )
            paid = issued
            for share in shares:
                paid += 5 + int(random() * 70)
                if paid > last:
                    break
                number += 1
                paid_for = invoice + (10 * self.rows if number % 499 == 30 else 0)
                yield (number, paid_for, paid, _percent(owed, share)), self._known(paid, random())

    def _day(self, luck: float) -> int:
        """Return a day of the history, recent ones slightly more often."""
        return self._today - int(luck * (0.6 + 0.4 * luck) * HISTORY_DAYS)

    def _zone(self, number: int, luck: float) -> int | None:
        return None if number % 33 == 11 else 1 + int(luck * self.zone_count)

    def _known(self, day: int, luck: float) -> int:
        """Return when a record of that day reached the source: mostly within a day, one in twenty up to 90 days late."""
        late = int(luck * 1_800) if luck < 0.05 else 0
        return (min(day + late, self._today) - EPOCH) * DAY + int(luck * DAY)


def _amount(luck: float, least: int, most: int) -> int:
    """Return an amount in hundredths, small ones more often."""
    return int((least + luck * luck * (most - least)) * 100)


def _percent(amount: int, percent: int) -> int:
    """Return a part of an amount, rounded half to even."""
    whole, rest = divmod(amount * percent, 100)
    return whole + (rest > 50 or (rest == 50 and whole % 2))


Word = TypeVar("Word", str, str | None)


def _untidy(word: Word, number: int) -> Word:
    """Return a word, sometimes with a blank or in another case, as if typed by hand."""
    if word is None or number % 41 != 17:
        return word
    return f" {word.swapcase()}"


# Content of a record before its correction, in the order of the columns in `records`.


def _earlier_demande(said: Cells) -> Cells:
    number, zone, company, _, asked, _, _, granted, opened = said
    return number, zone, company, 1_234_567, asked, None, None, granted, opened


def _earlier_indemnisation(said: Cells) -> Cells:
    number, zone, who, kind, _, _, valued, _ = said
    return number, zone, who, kind, 100_000_000, 0, valued, None


def _earlier_emploi(said: Cells) -> Cells:
    return (*said[:-2], 99, 0)


def _earlier_facture(said: Cells) -> Cells:
    return (*said[:-1], 2 * cast(int, said[-1]))


def _earlier_paiement(said: Cells) -> Cells:
    return (*said[:-1], cast(int, said[-1]) + 100)
