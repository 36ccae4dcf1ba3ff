"""Queries of the dashboards' front end: a filtered mart with breakdowns, and its records, each answer of one data version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from refresh_examples.asked import UNKNOWN, Chosen, Filter, Page, condition
from refresh_examples.summaries import DASHBOARDS, Dashboard, Row, grouped_query, rows
from refresh_examples.versions import versions

Json = Mapping[str, object]


@dataclass(frozen=True)
class Records:
    """The records behind a mart: a fact table and its visible columns."""

    fact: str
    columns: Sequence[str]
    filters: Mapping[str, LiteralString]
    """By filter, the SQL expression on the fact table that the filter's value is compared with."""
    newest_first: LiteralString
    count: str
    """The mart's measure that counts these records."""
    amount: tuple[str, str]
    """A column of the fact, and the mart's measure that sums it."""
    among: LiteralString = "true"


@dataclass(frozen=True)
class Board:
    """A dashboard as a front end uses it."""

    dashboard: Dashboard
    filters: Sequence[Filter]
    labels: Mapping[str, str]
    """By filter, the column that names or orders its choices, if it is not the filter's own column."""
    records: Records


_BY_MONTH = (Filter("zone", "zone_id", whole=True), Filter("annee", "annee", whole=True), Filter("mois", "mois", whole=True))


def _monthly(day: LiteralString) -> Mapping[str, LiteralString]:
    return {"zone": "zone_id", "annee": f"extract(year from {day})::integer", "mois": f"extract(month from {day})::integer"}


_RECORDS = {
    "implantation-suivi": Records(
        "fait_implantations",
        ("demande_id", "entreprise_id", "date_demande", "superficie_m2", "decision", "date_decision", "date_attribution", "statut"),
        _monthly("date_demande"),
        "date_demande desc nulls last, demande_id",
        "nb_demandes",
        ("superficie_m2", "superficie_demandee_m2"),
    ),
    # who was compensated must not appear on a dashboard
    "indemnisations": Records(
        "fait_indemnisations",
        ("indemnisation_id", "date_evaluation", "type_bien", "montant_du", "montant_paye", "montant_restant", "statut_paiement"),
        _monthly("date_evaluation"),
        "date_evaluation desc nulls last, indemnisation_id",
        "nb_dossiers",
        ("montant_du", "montant_du"),
    ),
    "emplois-crees": Records(
        "fait_emplois_crees",
        ("emploi_id", "entreprise_id", "date_declaration", "type_contrat", "sexe", "nb_prevus", "nb_crees"),
        _monthly("date_declaration"),
        "date_declaration desc nulls last, emploi_id",
        "nb_declarations",
        ("nb_crees", "nb_crees"),
    ),
    "creances-agees": Records(
        "fait_factures",
        ("facture_id", "zone_id", "entreprise_id", "date_emission", "date_echeance", "jours_retard", "montant_ttc", "montant_solde"),
        {"tranche": "tranche_anciennete"},
        "montant_solde desc, facture_id",
        "nb_factures",
        ("montant_solde", "montant_net"),
        among="montant_solde <> 0",
    ),
}


def _board(dashboard: Dashboard) -> Board:
    if "by_zone" in dashboard.breakdowns:
        return Board(dashboard, _BY_MONTH, {"zone": "nom_zone"}, _RECORDS[dashboard.name])
    filters = (Filter("tranche", "tranche_anciennete", whole=False), Filter("risque", "niveau_risque", whole=False))
    return Board(dashboard, filters, {"tranche": "ordre_tranche"}, _RECORDS[dashboard.name])


BOARDS = tuple(_board(dashboard) for dashboard in DASHBOARDS)


def view(board: Board, asked: Chosen, connection: psycopg.Connection) -> Json:
    """Return the mart's totals and breakdowns for the filters, the filters' choices, and the data version.

    Raise psycopg.errors.UndefinedTable while the mart has not been built.
    """
    where, values = condition(_columns(board), asked)
    with _one_look(connection):
        total, *_ = rows(connection, grouped_query(board.dashboard, (), where), values)
        return {
            **_head(board, connection),
            "choices": {each.name: _choices(board, each, connection) for each in board.filters},
            "rows": total["rows"],
            "totals": {measure: total[measure] for measure in board.dashboard.measures},
            **{
                name: rows(connection, grouped_query(board.dashboard, columns, where), values)
                for name, columns in board.dashboard.breakdowns.items()
            },
        }


def records(board: Board, asked: Chosen, page: Page, connection: psycopg.Connection) -> Json:
    """Return one page of the records, and whether they add up to the mart.

    They need not: a refresh builds the facts in place and publishes the marts at its end, so facts are newer than the marts while
    one runs, or after one that failed. Raise psycopg.errors.UndefinedTable while there are none.
    """
    kept = board.records
    fact = sql.Identifier("dwh_facts", kept.fact)
    where, values = condition({name: sql.SQL(text) for name, text in kept.filters.items()}, asked)
    among = sql.SQL("{} and {}").format(sql.SQL(kept.among), where)
    counting = sql.SQL("select count(*) as total, coalesce(sum({}), 0) as amount from {} where {}")
    listing = sql.SQL("select {} from {} where {} order by {} limit {} offset {}").format(
        sql.SQL(", ").join(map(sql.Identifier, kept.columns)),
        fact,
        among,
        sql.SQL(kept.newest_first),
        sql.Literal(page.rows),
        sql.Literal((page.number - 1) * page.rows),
    )
    with _one_look(connection):
        head = _head(board, connection)
        (found,) = rows(connection, counting.format(sql.Identifier(kept.amount[0]), fact, among), values)
        listed = rows(connection, listing, values)
        mart_where, mart_values = condition(_columns(board), asked)
        (mart,) = rows(connection, grouped_query(board.dashboard, (), mart_where), mart_values)
    matches = (found["total"], found["amount"]) == (mart[kept.count], mart[kept.amount[1]])
    return {**head, "page": page.number, "page_rows": page.rows, "total": found["total"], "matches_mart": matches, "records": listed}


@contextmanager
def _one_look(connection: psycopg.Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        yield


def _head(board: Board, connection: psycopg.Connection) -> Json:
    version = versions(connection).get(board.dashboard.relation)
    return {"dashboard": board.dashboard.name, "mart": board.dashboard.relation, "version": version.json() if version else None}


def _columns(board: Board) -> Mapping[str, sql.Composable]:
    return {each.name: sql.Identifier(each.column) for each in board.filters}


def _choices(board: Board, asked: Filter, connection: psycopg.Connection) -> list[Row]:
    label = board.labels.get(asked.name, asked.column)
    query = sql.SQL("select {0} as value, min({1}) as label from {2} group by {0} order by 2 nulls last, 1").format(
        sql.Identifier(asked.column), sql.Identifier(label), sql.Identifier(board.dashboard.schema, board.dashboard.mart)
    )
    named = asked.name == "zone"
    return [
        {"value": UNKNOWN if row["value"] is None else str(row["value"]), "label": row["label" if named else "value"]}
        for row in rows(connection, query)
    ]
