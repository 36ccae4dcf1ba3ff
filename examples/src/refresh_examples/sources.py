"""A seeded generator of believable source data: the same seed, size and date give the same lines, on any machine.

Among the records are late, missing, doubled, corrected, withdrawn and restored ones. What must not depend on luck
(the share of records without a zone or a date) goes by the record's number, so that it holds at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from random import Random
from typing import NamedTuple, TypeVar

from refresh_examples.journal import lines
from refresh_examples.records import Demande, Emploi, Entreprise, Facture, Indemnisation, Paiement, Zone

HISTORY_DAYS = 1095

_REGIONS = ("Littoral", "Centre", "Ouest", "Nord", "Sud", "Est")
_PLACES = ("Bonaberi", "Kribi", "Edea", "Limbe", "Ombe", "Bafoussam", "Garoua", "Maroua", "Ebolowa", "Bertoua")
_SECTORS = ("agroalimentaire", "bois", "chimie", "metallurgie", "logistique", "textile", "energie")
_COUNTRIES = ("CM", "CM", "CM", "CM", "FR", "CN", "NG", "TR", "IN", "GA")
_GOODS = (("terre", 4_000_000), ("culture", 600_000), ("bati", 9_000_000))
_CONTRACTS = ("CDI", "CDI", "CDI", "CDD", "CDD", "INTERIM")


@dataclass(frozen=True)
class Sources:
    """What to generate: `rows` records of each main table, as they are known on the day `as_of`."""

    rows: int
    seed: int
    as_of: date

    @cached_property
    def zone_count(self) -> int:
        """From 5 zones to 60, one for 50 records."""
        return min(max(self.rows // 50, 5), 60)

    @cached_property
    def company_count(self) -> int:
        """From 10 companies to 20,000, one for 20 records."""
        return min(max(self.rows // 20, 10), 20_000)

    def tables(self) -> dict[str, Callable[[], Iterator[NamedTuple]]]:
        """Every table's name with what generates its lines; each can be called alone and again."""
        return {
            "zones": self.zones,
            "entreprises": self.entreprises,
            "demandes_implantation": self.demandes,
            "indemnisations": self.indemnisations,
            "emplois": self.emplois,
            "factures": self.factures,
            "paiements": self.paiements,
        }

    def zones(self) -> Iterator[Zone]:
        """The zones, with corrected areas; none is ever withdrawn."""
        draw = self._draw("zones")
        share = Decimal(self.rows * 7_000) / self.zone_count
        known = _midnight(self.as_of - timedelta(days=HISTORY_DAYS))
        for number in range(1, self.zone_count + 1):
            area = (share * Decimal(60 + int(draw.random() * 90)) / 100).quantize(Decimal("0.01"))
            name = f"Zone {_PLACES[number % len(_PLACES)]} {number}"
            zone = Zone(number, name, _REGIONS[number % len(_REGIONS)], area, 2 * number, known, None)
            if number % 7 == 3:
                yield zone._replace(superficie_totale_m2=area * 2, numero_ligne=2 * number - 1, updated_at=known - timedelta(days=9))
            yield zone

    def entreprises(self) -> Iterator[Entreprise]:
        """The companies."""
        draw = self._draw("entreprises")
        known = _midnight(self.as_of - timedelta(days=HISTORY_DAYS))
        for number in range(1, self.company_count + 1):
            sector = _SECTORS[int(draw.random() * len(_SECTORS))]
            country = _COUNTRIES[int(draw.random() * len(_COUNTRIES))]
            yield Entreprise(number, f"Societe {sector} {number}", sector, country, number, known, None)

    def demandes(self) -> Iterator[Demande]:
        """Requests to settle, with what has become of each so far; some carry a planned start of operation."""
        return lines(self._draw("demandes/journal"), self._demandes(), _earlier_demande)

    def indemnisations(self) -> Iterator[Indemnisation]:
        """Compensation cases: unpaid, part paid, paid, now and then overpaid."""
        return lines(self._draw("indemnisations/journal"), self._indemnisations(), _earlier_indemnisation)

    def emplois(self) -> Iterator[Emploi]:
        """Declarations of jobs, planned and created."""
        return lines(self._draw("emplois/journal"), self._emplois(), _earlier_emploi)

    def factures(self) -> Iterator[Facture]:
        """Invoices and a few credit notes."""
        return lines(self._draw("factures/journal"), self._factures(), _earlier_facture)

    def paiements(self) -> Iterator[Paiement]:
        """Payments of those invoices: none, one or two each, some taken back, some for invoices that are not there."""
        return lines(self._draw("paiements/journal"), self._paiements(), _earlier_paiement)

    def _draw(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    def _demandes(self) -> Iterator[Demande]:
        random = self._draw("demandes").random
        for number in range(1, self.rows + 1):
            asked = self._day(random())
            decided = asked + timedelta(days=5 + int(random() * 120))
            luck = random()
            decision = None if luck < 0.08 or decided > self.as_of else "refusee" if luck < 0.3 else "accordee"
            granted = decided + timedelta(days=int(random() * 60))
            granted_yet = decision == "accordee" and granted <= self.as_of and random() < 0.9
            opened = granted + timedelta(days=60 + int(random() * 340))
            opened_yet = granted_yet and random() < (0.75 if opened <= self.as_of else 0.3)
            yield Demande(
                demande_id=number,
                zone_id=self._zone(number, random()),
                entreprise_id=1 + int(random() * self.company_count),
                superficie_m2=None if number % 101 == 7 else _amount(random(), 500, 14_000),
                date_demande=None if number % 97 == 13 else asked,
                date_decision=None if decision is None or number % 199 == 5 else decided,
                decision=_untidy(decision, number),
                date_attribution=granted if granted_yet else None,
                date_mise_en_exploitation=opened if opened_yet else None,
                numero_ligne=0,
                updated_at=self._known(asked, random()),
                deleted_at=None,
            )

    def _indemnisations(self) -> Iterator[Indemnisation]:
        random = self._draw("indemnisations").random
        for number in range(1, self.rows + 1):
            valued = self._day(random())
            paid = valued + timedelta(days=15 + int(random() * 300))
            kind, most = _GOODS[int(random() * 3)]
            due = _amount(random(), most // 20, most)
            luck = random()
            percent = 100 if luck < 0.5 else int(luck * 100) if luck < 0.7 else 103 if luck < 0.71 else 0
            amount = due * percent / 100 if paid <= self.as_of + timedelta(days=15) else Decimal(0)
            yield Indemnisation(
                indemnisation_id=number,
                zone_id=self._zone(number, random()),
                beneficiaire=None if number % 103 == 8 else f"Beneficiaire {1 + int(random() * self.rows)}",
                type_bien=_untidy(kind, number),
                montant_du=None if number % 211 == 9 else due,
                montant_paye=amount.quantize(Decimal("0.01")),
                date_evaluation=None if number % 97 == 13 else valued,
                date_paiement=paid if amount and number % 197 != 6 else None,
                numero_ligne=0,
                updated_at=self._known(valued, random()),
                deleted_at=None,
            )

    def _emplois(self) -> Iterator[Emploi]:
        random = self._draw("emplois").random
        for number in range(1, self.rows + 1):
            declared = self._day(random())
            planned = 1 + int(random() * random() * 80)
            yield Emploi(
                emploi_id=number,
                zone_id=self._zone(number, random()),
                entreprise_id=1 + int(random() * self.company_count),
                date_declaration=None if number % 97 == 13 else declared,
                type_contrat=_untidy(_CONTRACTS[int(random() * len(_CONTRACTS))], number),
                sexe=None if number % 53 == 4 else "F" if random() < 0.38 else "H",
                nb_prevus=planned,
                nb_crees=None if number % 61 == 2 else int(planned * random() * 1.3),
                numero_ligne=0,
                updated_at=self._known(declared, random()),
                deleted_at=None,
            )

    def _factures(self) -> Iterator[Facture]:
        random = self._draw("factures").random
        for number in range(1, self.rows + 1):
            issued = self._day(random())
            terms = (30, 30, 60, 90)[int(random() * 4)]
            amount = _amount(random(), 20_000, 3_000_000)
            yield Facture(
                facture_id=number,
                zone_id=self._zone(number, random()),
                entreprise_id=None if number % 223 == 10 else 1 + int(random() * self.company_count),
                date_emission=issued,
                date_echeance=None if number % 97 == 13 else issued + timedelta(days=terms),
                montant_ttc=-amount if number % 47 == 20 else amount,
                numero_ligne=0,
                updated_at=self._known(issued, random()),
                deleted_at=None,
            )

    def _paiements(self) -> Iterator[Paiement]:
        random = self._draw("paiements").random
        number = 0
        for invoice in self._factures():
            issued, luck = invoice.date_emission, random()
            if issued is None or luck < 0.13 or invoice.montant_ttc < 0:
                continue
            shares = (
                (100,) if luck < 0.7 else (40, 60) if luck < 0.85 else (55,) if luck < 0.97 else (100, 5) if luck < 0.985 else (100, -100)
            )
            paid = issued
            for share in shares:
                paid += timedelta(days=5 + int(random() * 70))
                if paid > self.as_of + timedelta(days=15):
                    break
                number += 1
                yield Paiement(
                    paiement_id=number,
                    facture_id=invoice.facture_id + (10 * self.rows if number % 499 == 30 else 0),
                    date_paiement=paid,
                    montant=(invoice.montant_ttc * share / 100).quantize(Decimal("0.01")),
                    numero_ligne=0,
                    updated_at=self._known(paid, random()),
                    deleted_at=None,
                )

    def _day(self, luck: float) -> date:
        """A day of the history, recent ones a little more often."""
        return self.as_of - timedelta(days=int(luck * (0.6 + 0.4 * luck) * HISTORY_DAYS))

    def _zone(self, number: int, luck: float) -> int | None:
        return None if number % 33 == 11 else 1 + int(luck * self.zone_count)

    def _known(self, day: date, luck: float) -> datetime:
        """When a record of that day reached the source: mostly within a day, one in twenty up to 90 days late."""
        late = int(luck * 1_800) if luck < 0.05 else 0
        return _midnight(min(day + timedelta(days=late), self.as_of)) + timedelta(seconds=int(luck * 86_400))


@lru_cache(maxsize=2 * HISTORY_DAYS)
def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _amount(luck: float, least: int, most: int) -> Decimal:
    """An amount with two decimals, small ones more often."""
    return Decimal(int((least + luck * luck * (most - least)) * 100)).scaleb(-2)


Word = TypeVar("Word", str, str | None)


def _untidy(word: Word, number: int) -> Word:
    """Now and then a word as people type it: with a blank, or in another case."""
    if word is None or number % 41 != 17:
        return word
    return f" {word.swapcase()}"


def _earlier_demande(line: Demande) -> Demande:
    return line._replace(superficie_m2=Decimal("12345.67"), decision=None, date_decision=None)


def _earlier_indemnisation(line: Indemnisation) -> Indemnisation:
    return line._replace(montant_paye=Decimal("0.00"), date_paiement=None, montant_du=Decimal("1000000.00"))


def _earlier_emploi(line: Emploi) -> Emploi:
    return line._replace(nb_crees=0, nb_prevus=99)


def _earlier_facture(line: Facture) -> Facture:
    return line._replace(montant_ttc=line.montant_ttc * 2)


def _earlier_paiement(line: Paiement) -> Paiement:
    return line._replace(montant=line.montant + 1)
