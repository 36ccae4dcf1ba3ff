"""Marts in a database compared with the expected ones, cell by cell."""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row

from refresh_examples.truth import Mart
from support.postgres import Database

MARTS = {
    "mart_implantation_suivi": ("dwh_marts_operationnel", ("zone_id", "annee", "mois")),
    "mart_indemnisations": ("dwh_marts_operationnel", ("zone_id", "annee", "mois")),
    "mart_emplois_crees": ("dwh_marts_operationnel", ("zone_id", "annee", "mois")),
    "mart_creances_agees": ("dwh_marts_financier", ("tranche_anciennete", "niveau_risque")),
    "mart_facturation_mensuelle": ("dwh_marts_financier", ("zone_id", "annee", "mois")),
    "mart_encaissements_mensuels": ("dwh_marts_financier", ("zone_id", "annee", "mois")),
}


def found(database: Database, mart: str) -> Mart:
    """Return a mart's rows in the database by key."""
    schema, keys = MARTS[mart]
    with psycopg.connect(database.dsn, row_factory=dict_row) as connection:
        rows = connection.execute(f"select * from {schema}.{mart}".encode()).fetchall()
    return {tuple(row[key] for key in keys): row for row in rows}


def differences(expected: Mart, actual: Mart) -> list[str]:
    """Return missing rows, additional rows and differing cells in words."""
    said = [f"{key} is missing" for key in expected.keys() - actual.keys()]
    said += [f"{key} should not be there" for key in actual.keys() - expected.keys()]
    for key in expected.keys() & actual.keys():
        if expected[key].keys() != actual[key].keys():
            said.append(f"columns {expected[key].keys() ^ actual[key].keys()}")
        said += [
            f"{key}.{column}: {actual[key][column]!r}, should be {value!r}"
            for column, value in expected[key].items()
            if actual[key].get(column) != value
        ]
    return said
