"""The marts by zone and month: settlement, compensation, jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from refresh_examples.records import Demande, Emploi, Indemnisation, Zone
from refresh_examples.truth.rules import Mart, Row, Value, days, happened, key_of, known, mean, period, share, tidied

Zones = Mapping[int, Zone]
Cell = tuple[int | None, int | None, int | None]
NOTHING = Decimal("0.00")


@dataclass
class _Month:
    """Events of one zone and month."""

    demandes: list[Demande] = field(default_factory=list)
    en_attente: int = 0
    decisions: list[tuple[str, int | None]] = field(default_factory=list)
    attributions: list[tuple[Decimal, int | None]] = field(default_factory=list)
    exploitations: list[tuple[Decimal, int | None]] = field(default_factory=list)


def implantation_suivi(demandes: Iterable[Demande], zones: Zones, as_of: date) -> Mart:
    """Each event in the month in which it happened."""
    months: dict[Cell, _Month] = defaultdict(_Month)
    for demande in demandes:
        if not happened(demande.date_demande, as_of):
            continue
        zone, area = demande.zone_id, demande.superficie_m2 or NOTHING
        decision = tidied(demande.decision) if happened(demande.date_decision, as_of) else None
        decided = known(demande.date_decision, as_of)
        granted = known(demande.date_attribution, as_of)
        opened = known(demande.date_mise_en_exploitation, as_of)
        asked = months[(zone, *period(demande.date_demande))]
        asked.demandes.append(demande)
        asked.en_attente += decision is None and granted is None and opened is None
        if decision is not None:
            months[(zone, *period(decided))].decisions.append((decision, days(demande.date_demande, decided)))
        if granted is not None:
            months[(zone, *period(granted))].attributions.append((area, days(decided, granted)))
        if opened is not None:
            months[(zone, *period(opened))].exploitations.append((area, days(granted, opened)))
    so_far = _granted_so_far(months)
    return {cell: _implantation_row(cell, month, zones, so_far.get(cell)) for cell, month in months.items()}


def _granted_so_far(months: Mapping[Cell, _Month]) -> Mapping[Cell, Decimal]:
    """Return for each zone the area granted up to the end of each month."""
    sums: dict[int, Decimal] = defaultdict(lambda: NOTHING)
    so_far: dict[Cell, Decimal] = {}
    dated = [(zone, year, month) for zone, year, month in months if zone is not None and year is not None and month is not None]
    for zone, year, month in sorted(dated):
        sums[zone] += sum((area for area, _ in months[zone, year, month].attributions), NOTHING)
        so_far[zone, year, month] = sums[zone]
    return so_far


def _implantation_row(cell: Cell, month: _Month, zones: Zones, so_far: Decimal | None) -> Row:
    zone = zones.get(cell[0]) if cell[0] is not None else None
    yes = sum(decision == "accordee" for decision, _ in month.decisions)
    no = sum(decision == "refusee" for decision, _ in month.decisions)
    return {
        "implantation_suivi_sk": key_of(*cell),
        **_place(cell, zones),
        "nb_demandes": len(month.demandes),
        "superficie_demandee_m2": sum((demande.superficie_m2 or NOTHING for demande in month.demandes), NOTHING),
        "nb_en_attente": month.en_attente,
        "nb_accordees": yes,
        "nb_refusees": no,
        "taux_acceptation": share(yes, yes + no),
        "nb_attributions": len(month.attributions),
        "superficie_attribuee_m2": sum((area for area, _ in month.attributions), NOTHING),
        "nb_mises_en_exploitation": len(month.exploitations),
        "superficie_en_exploitation_m2": sum((area for area, _ in month.exploitations), NOTHING),
        "delai_moyen_decision_jours": mean([delay for _, delay in month.decisions if delay is not None]),
        "delai_moyen_attribution_jours": mean([delay for _, delay in month.attributions if delay is not None]),
        "delai_moyen_exploitation_jours": mean([delay for _, delay in month.exploitations if delay is not None]),
        "superficie_attribuee_cumulee_m2": so_far,
        "taux_occupation": share(so_far, zone.superficie_totale_m2 if zone else None),
    }


def indemnisations(dossiers: Iterable[Indemnisation], zones: Zones, as_of: date) -> Mart:
    """Cases by month of their valuation."""
    months: dict[Cell, list[Indemnisation]] = defaultdict(list)
    for dossier in dossiers:
        if happened(dossier.date_evaluation, as_of):
            months[(dossier.zone_id, *period(dossier.date_evaluation))].append(dossier)
    return {cell: _indemnisation_row(cell, month, zones, as_of) for cell, month in months.items()}


def _indemnisation_row(cell: Cell, month: list[Indemnisation], zones: Zones, as_of: date) -> Row:
    due_by_kind: dict[str | None, Decimal] = defaultdict(lambda: NOTHING)
    due = paid = left = over = NOTHING
    full = part = none = 0
    delays = []
    for dossier in month:
        owed = dossier.montant_du or NOTHING
        given = (dossier.montant_paye or NOTHING) if happened(dossier.date_paiement, as_of) else NOTHING
        due, paid = due + owed, paid + given
        left += max(owed - given, NOTHING)
        over += max(given - owed, NOTHING)
        full += given >= owed
        part += NOTHING < given < owed
        none += given < owed and given <= 0
        due_by_kind[tidied(dossier.type_bien)] += owed
        delay = days(dossier.date_evaluation, known(dossier.date_paiement, as_of))
        delays += [] if delay is None else [delay]
    return {
        "indemnisations_sk": key_of(*cell),
        **_place(cell, zones),
        "nb_dossiers": len(month),
        "nb_beneficiaires": len({dossier.beneficiaire for dossier in month} - {None}),
        "montant_du": due,
        "montant_paye": paid,
        "montant_restant": left,
        "montant_trop_paye": over,
        "taux_paiement": share(due - left, due),
        "nb_soldes": full,
        "nb_partiels": part,
        "nb_impayes": none,
        "montant_du_terre": due_by_kind["terre"],
        "montant_du_culture": due_by_kind["culture"],
        "montant_du_bati": due_by_kind["bati"],
        "delai_moyen_paiement_jours": mean(delays),
    }


def emplois_crees(emplois: Iterable[Emploi], zones: Zones, as_of: date) -> Mart:
    """Jobs by month of their declaration."""
    months: dict[Cell, list[Emploi]] = defaultdict(list)
    for emploi in emplois:
        if happened(emploi.date_declaration, as_of):
            months[(emploi.zone_id, *period(emploi.date_declaration))].append(emploi)
    return {cell: _emplois_row(cell, month, zones) for cell, month in months.items()}


def _emplois_row(cell: Cell, month: list[Emploi], zones: Zones) -> Row:
    contracts: dict[str | None, int] = defaultdict(int)
    sexes: dict[str | None, int] = defaultdict(int)
    for emploi in month:
        contracts[tidied(emploi.type_contrat)] += emploi.nb_crees or 0
        sexes[tidied(emploi.sexe)] += emploi.nb_crees or 0
    planned = sum(emploi.nb_prevus or 0 for emploi in month)
    created = sum(emploi.nb_crees or 0 for emploi in month)
    return {
        "emplois_crees_sk": key_of(*cell),
        **_place(cell, zones),
        "nb_declarations": len(month),
        "nb_entreprises": len({emploi.entreprise_id for emploi in month} - {None}),
        "nb_prevus": planned,
        "nb_crees": created,
        "ecart": created - planned,
        "taux_realisation": share(created, planned),
        "nb_crees_cdi": contracts["cdi"],
        "nb_crees_cdd": contracts["cdd"],
        "nb_crees_interim": contracts["interim"],
        "nb_crees_femmes": sexes["f"],
        "nb_crees_hommes": sexes["h"],
        "nb_crees_sexe_inconnu": sexes[None],
        "part_femmes": share(sexes["f"], sexes["f"] + sexes["h"]),
    }


def _place(cell: Cell, zones: Zones) -> dict[str, Value]:
    zone = zones.get(cell[0]) if cell[0] is not None else None
    return {
        "zone_id": cell[0],
        "annee": cell[1],
        "mois": cell[2],
        "nom_zone": zone.nom if zone else None,
        "region": zone.region if zone else None,
    }
