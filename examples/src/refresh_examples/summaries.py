"""Reads a dashboard's summary from its mart in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from refresh_examples.versions import versions

Number = int | float | str | None
Row = Mapping[str, Number]
Summary = Mapping[str, object]

_ALL = sql.SQL("true")


@dataclass(frozen=True)
class Dashboard:
    """A dashboard: its mart, the additive measures, and the breakdowns."""

    name: str
    schema: str
    mart: str
    measures: Sequence[str]
    breakdowns: Mapping[str, Sequence[str]]

    @property
    def relation(self) -> str:
        """Return the mart as schema.name."""
        return f"{self.schema}.{self.mart}"


_BY_ZONE_AND_PERIOD = {"by_zone": ("zone_id", "nom_zone", "region"), "by_period": ("annee", "mois")}

DASHBOARDS = (
    Dashboard(
        "implantation-suivi",
        "dwh_marts_operationnel",
        "mart_implantation_suivi",
        (
            "nb_demandes",
            "nb_en_attente",
            "nb_accordees",
            "nb_refusees",
            "nb_attributions",
            "nb_mises_en_exploitation",
            "superficie_demandee_m2",
            "superficie_attribuee_m2",
            "superficie_en_exploitation_m2",
        ),
        _BY_ZONE_AND_PERIOD,
    ),
    Dashboard(
        "indemnisations",
        "dwh_marts_operationnel",
        "mart_indemnisations",
        ("nb_dossiers", "montant_du", "montant_paye", "montant_restant", "nb_soldes", "nb_partiels", "nb_impayes"),
        _BY_ZONE_AND_PERIOD,
    ),
    Dashboard(
        "emplois-crees",
        "dwh_marts_operationnel",
        "mart_emplois_crees",
        ("nb_declarations", "nb_prevus", "nb_crees", "nb_crees_cdi", "nb_crees_cdd", "nb_crees_interim", "nb_crees_femmes"),
        _BY_ZONE_AND_PERIOD,
    ),
    Dashboard(
        "creances-agees",
        "dwh_marts_financier",
        "mart_creances_agees",
        ("nb_factures", "montant_encours", "montant_non_echu", "montant_crediteur", "montant_net"),
        {"by_age": ("ordre_tranche", "tranche_anciennete"), "by_risk": ("niveau_risque",)},
    ),
)


def summary_of(dashboard: Dashboard, connection: psycopg.Connection) -> tuple[Summary, str | None]:
    """Return totals, row count, breakdowns and data version of one snapshot.

    The version is the run that published the mart, or None if no run has. Raise psycopg.errors.UndefinedTable while the mart
    has not been built.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        version = versions(connection).get(dashboard.relation)
        total, *_ = _grouped(dashboard, (), connection)
        breakdowns = {name: _grouped(dashboard, columns, connection) for name, columns in dashboard.breakdowns.items()}
    summary = {
        "dashboard": dashboard.name,
        "mart": dashboard.relation,
        "rows": total["rows"],
        "totals": {measure: total[measure] for measure in dashboard.measures},
        **breakdowns,
    }
    return summary, version.name if version else None


def grouped_query(dashboard: Dashboard, columns: Sequence[str], where: sql.Composable = _ALL) -> sql.Composed:
    """Return the query of the measures grouped by these columns, or of the totals without columns, for rows that match `where`."""
    names = [sql.Identifier(column) for column in columns]
    sums = [sql.SQL("coalesce(sum({0}), 0) as {0}").format(sql.Identifier(measure)) for measure in dashboard.measures]
    measures = sql.SQL(", ").join([*names, sql.SQL("count(*) as rows"), *sums])
    query = sql.SQL("select {} from {} where {}").format(measures, sql.Identifier(dashboard.schema, dashboard.mart), where)
    return query + sql.SQL(" group by {0} order by {0}").format(sql.SQL(", ").join(names)) if names else query


def _grouped(dashboard: Dashboard, columns: Sequence[str], connection: psycopg.Connection) -> list[Row]:
    return rows(connection, grouped_query(dashboard, columns))


def rows(connection: psycopg.Connection, query: sql.Composed, values: Sequence[int | str] = ()) -> list[Row]:
    """Return a query's rows as JSON values, by column."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [{name: _plain(value) for name, value in row.items()} for row in cursor.execute(query, values)]


def _plain(value: object) -> Number:
    """Return a database value as a JSON value; sums of integers stay integers."""
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, int | float | str):
        return value
    raise TypeError(f"a summary cannot contain a {type(value).__name__}")
