"""The financial marts: receivables by age and risk, invoices and payments by zone and month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from refresh_examples.records import Facture, Paiement
from refresh_examples.truth.rules import Mart, Row, days, happened, key_of, mean, named, period, share

Cell = tuple[int | None, int | None, int | None]
NOTHING = Decimal("0.00")
BANDS = ((30, "0-30"), (60, "31-60"), (90, "61-90"), (180, "91-180"))
OLDEST = "plus de 180"
RISKS = ("faible", "moyen", "eleve")
RISK_OF_BAND = {"0-30": 0, "31-60": 0, "61-90": 1, "91-180": 1, OLDEST: 2}
ORDER = {band: place for place, band in enumerate(RISK_OF_BAND, start=1)}


@dataclass(frozen=True)
class _Open:
    """An unsettled invoice."""

    facture: Facture
    paid: Decimal
    late: int | None

    @property
    def balance(self) -> Decimal:
        return self.facture.montant_ttc - self.paid

    @property
    def owed(self) -> Decimal:
        return max(self.balance, NOTHING)

    @property
    def band(self) -> str | None:
        if self.late is None:
            return None
        return next((name for most, name in BANDS if self.late <= most), OLDEST)


def creances_agees(factures: Iterable[Facture], paiements: Iterable[Paiement], as_of: date) -> Mart:
    """Open invoices of that day, by age and risk."""
    opened = _open(factures, paiements, as_of)
    owed: dict[int, Decimal] = defaultdict(lambda: NOTHING)
    old: dict[int, Decimal] = defaultdict(lambda: NOTHING)
    for item in opened:
        company = item.facture.entreprise_id
        if company is not None:
            owed[company] += item.owed
            old[company] += item.owed if item.late is not None and item.late > 90 else NOTHING
    groups: dict[tuple[str | None, str | None], list[_Open]] = defaultdict(list)
    for item in opened:
        company = item.facture.entreprise_id
        raised = company is not None and owed[company] > 0 and old[company] * 2 >= owed[company]
        groups[item.band, _risk(item.band, raised)].append(item)
    total = sum((item.owed for item in opened), NOTHING)
    return {key: _creances_row(*key, items, total, as_of) for key, items in groups.items()}


def _open(factures: Iterable[Facture], paiements: Iterable[Paiement], as_of: date) -> list[_Open]:
    paid: dict[int, Decimal] = defaultdict(lambda: NOTHING)
    for paiement in paiements:
        if happened(paiement.date_paiement, as_of):
            paid[paiement.facture_id] += paiement.montant
    opened = []
    for facture in factures:
        if not happened(facture.date_emission, as_of):
            continue
        due = facture.date_echeance or (facture.date_emission + timedelta(days=30) if facture.date_emission else None)
        item = _Open(facture, paid[facture.facture_id], days(due, as_of))
        if item.balance:
            opened.append(item)
    return opened


def _risk(band: str | None, raised: bool) -> str | None:
    return RISKS[min(RISK_OF_BAND[band] + raised, 2)] if band else None


def _creances_row(band: str | None, risk: str | None, items: list[_Open], total: Decimal, as_of: date) -> Row:
    owed = sum((item.owed for item in items), NOTHING)
    credit = sum((max(-item.balance, NOTHING) for item in items), NOTHING)
    late = [max(item.late, 0) for item in items if item.late is not None]
    return {
        "creances_agees_sk": key_of(band, risk),
        "tranche_anciennete": band,
        "niveau_risque": risk,
        "ordre_tranche": ORDER[band] if band else None,
        "date_arrete": as_of,
        "nb_factures": len(items),
        "nb_entreprises": len({item.facture.entreprise_id for item in items} - {None}),
        "montant_facture": sum((item.facture.montant_ttc for item in items), NOTHING),
        "montant_encaisse": sum((item.paid for item in items), NOTHING),
        "montant_encours": owed,
        "montant_non_echu": sum((item.owed for item in items if item.late is not None and item.late < 0), NOTHING),
        "montant_crediteur": credit,
        "montant_net": owed - credit,
        "part_encours": share(owed, total),
        "retard_moyen_jours": mean(late),
        "retard_max_jours": max(late, default=None),
    }


def facturation_mensuelle(factures: Iterable[Facture], as_of: date) -> Mart:
    """Invoices and credit notes by month of issue."""
    months: dict[Cell, list[Decimal]] = defaultdict(list)
    for facture in factures:
        if happened(facture.date_emission, as_of):
            months[(facture.zone_id, *period(facture.date_emission))].append(facture.montant_ttc)
    return {cell: _facturation_row(cell, amounts) for cell, amounts in months.items()}


def _facturation_row(cell: Cell, amounts: list[Decimal]) -> Row:
    invoices = [amount for amount in amounts if amount >= 0]
    credits = [-amount for amount in amounts if amount < 0]
    return {
        "facturation_mensuelle_sk": key_of(*cell),
        "zone_id": cell[0],
        "annee": cell[1],
        "mois": cell[2],
        **named(cell[2]),
        "nb_factures": len(invoices),
        "nb_avoirs": len(credits),
        "montant_facture": sum(invoices, NOTHING),
        "montant_avoirs": sum(credits, NOTHING),
        "montant_net": sum(amounts, NOTHING),
    }


def encaissements_mensuels(factures: Iterable[Facture], paiements: Iterable[Paiement], as_of: date) -> Mart:
    """Payments by month, in the zone of their invoice."""
    invoices: Mapping[int, Facture] = {facture.facture_id: facture for facture in factures}
    months: dict[Cell, list[tuple[Decimal, int | None]]] = defaultdict(list)
    for paiement in paiements:
        if happened(paiement.date_paiement, as_of):
            invoice = invoices.get(paiement.facture_id)
            delay = days(invoice.date_emission, paiement.date_paiement) if invoice else None
            zone = invoice.zone_id if invoice else None
            months[(zone, *period(paiement.date_paiement))].append((paiement.montant, delay))
    return {cell: _encaissements_row(cell, payments) for cell, payments in months.items()}


def _encaissements_row(cell: Cell, payments: list[tuple[Decimal, int | None]]) -> Row:
    return {
        "encaissements_mensuels_sk": key_of(*cell),
        "zone_id": cell[0],
        "annee": cell[1],
        "mois": cell[2],
        **named(cell[2]),
        "nb_paiements": sum(amount >= 0 for amount, _ in payments),
        "nb_rejets": sum(amount < 0 for amount, _ in payments),
        "montant_encaisse": sum((amount for amount, _ in payments), NOTHING),
        "delai_moyen_jours": mean([delay for amount, delay in payments if delay is not None and amount >= 0]),
    }
