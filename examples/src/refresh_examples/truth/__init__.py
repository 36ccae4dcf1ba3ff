"""The expected content of every mart, computed from the source's lines in plain Python, without any SQL of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import cast

from refresh_examples.records import Demande, Emploi, Facture, Indemnisation, Paiement, Zone
from refresh_examples.truth.financier import creances_agees, encaissements_mensuels, facturation_mensuelle
from refresh_examples.truth.operationnel import emplois_crees, implantation_suivi, indemnisations
from refresh_examples.truth.rules import Mart, standing

__all__ = ["Lines", "Mart", "truth"]

Lines = Mapping[str, Callable[[], Iterable[tuple[object, ...]]]]
"""By source table, what yields its lines; for example `Sources.tables()`."""


def truth(lines: Lines, as_of: date) -> dict[str, Mart]:
    """Return every mart's expected rows by name and key, for the day `as_of`."""
    zones = {zone.zone_id: zone for zone in standing(cast(Iterable[Zone], lines["zones"]()))}
    demandes = standing(cast(Iterable[Demande], lines["demandes_implantation"]()))
    dossiers = standing(cast(Iterable[Indemnisation], lines["indemnisations"]()))
    emplois = standing(cast(Iterable[Emploi], lines["emplois"]()))
    factures = standing(cast(Iterable[Facture], lines["factures"]()))
    paiements = standing(cast(Iterable[Paiement], lines["paiements"]()))
    return {
        "mart_implantation_suivi": implantation_suivi(demandes, zones, as_of),
        "mart_indemnisations": indemnisations(dossiers, zones, as_of),
        "mart_emplois_crees": emplois_crees(emplois, zones, as_of),
        "mart_creances_agees": creances_agees(factures, paiements, as_of),
        "mart_facturation_mensuelle": facturation_mensuelle(factures, as_of),
        "mart_encaissements_mensuels": encaissements_mensuels(factures, paiements, as_of),
    }
