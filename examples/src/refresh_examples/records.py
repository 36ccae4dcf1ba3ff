"""Types of the source tables' lines, one per table; the fields are the table's columns, in order.

A source table is a journal: a correction is a further line with the same id, a withdrawal a line with `deleted_at`.
The valid line of an id is the one with the latest `updated_at`, and among equal ones the one with the highest `numero_ligne`.
Areas are in square metres, amounts in the agency's currency with two decimals.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple


class Zone(NamedTuple):
    """An industrial zone."""

    zone_id: int
    nom: str
    region: str
    superficie_totale_m2: Decimal
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


class Entreprise(NamedTuple):
    """A company."""

    entreprise_id: int
    raison_sociale: str
    secteur: str
    pays: str
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


class Demande(NamedTuple):
    """A company's request to settle in a zone."""

    demande_id: int
    zone_id: int | None
    entreprise_id: int | None
    superficie_m2: Decimal | None
    date_demande: date | None
    date_decision: date | None
    decision: str | None
    date_attribution: date | None
    date_mise_en_exploitation: date | None
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


class Indemnisation(NamedTuple):
    """A compensation case: the amounts owed and paid to a person whose land, crops or buildings were taken."""

    indemnisation_id: int
    zone_id: int | None
    beneficiaire: str | None
    type_bien: str | None
    montant_du: Decimal | None
    montant_paye: Decimal | None
    date_evaluation: date | None
    date_paiement: date | None
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


class Emploi(NamedTuple):
    """A company's declaration of jobs, for one type of contract and one sex."""

    emploi_id: int
    zone_id: int | None
    entreprise_id: int | None
    date_declaration: date | None
    type_contrat: str | None
    sexe: str | None
    nb_prevus: int | None
    nb_crees: int | None
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


class Facture(NamedTuple):
    """An invoice; a credit note has a negative amount."""

    facture_id: int
    zone_id: int | None
    entreprise_id: int | None
    date_emission: date | None
    date_echeance: date | None
    montant_ttc: Decimal
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


class Paiement(NamedTuple):
    """A full or partial payment of an invoice; a payment that the bank reversed is negative."""

    paiement_id: int
    facture_id: int
    date_paiement: date | None
    montant: Decimal
    numero_ligne: int
    updated_at: datetime
    deleted_at: datetime | None


TABLES: dict[str, type[NamedTuple]] = {
    "zones": Zone,
    "entreprises": Entreprise,
    "demandes_implantation": Demande,
    "indemnisations": Indemnisation,
    "emplois": Emploi,
    "factures": Facture,
    "paiements": Paiement,
}
