"""Which data is live: one row a refresh in the warehouse, written in the transaction that makes its marts live.

Whoever reads the marts can read it in the same snapshot, and so prove what it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.types.json import Jsonb

from refresh_runner.postgres.connection import ensure_tables, short_transaction
from refresh_runner.postgres.own_tables import Table
from refresh_runner.publish.transaction import Live, Way

TABLE: Final = Table(
    "dbt_refresh_version",
    {
        "refresh": "text primary key",
        "version": "text not null",
        "published_at": "timestamptz not null default now()",
        "marts": "jsonb not null",
        "previous_version": "text",
        "previous_published_at": "timestamptz",
        "previous_marts": "jsonb",
        "held_since": "timestamptz",
    },
)


_IN_PLACE: Final = "InPlace"


@dataclass(frozen=True)
class Version:
    """The data that is live."""

    name: str
    """The run that built it."""
    published_at: datetime
    marts: Mapping[str, Mapping[str, str | int]]
    """By schema.name: the rows, the run that published it (version), and the way."""
    previous: str | None
    """The run whose data was live before; None if there is none."""
    held_since: datetime | None
    """When it was put back by a roll-back; nothing is published until somebody resumes."""

    @property
    def replaced(self) -> list[str]:
        """The marts, as schema.name, of which this version replaced an earlier one that is kept."""
        return sorted(name for name, mart in self.marts.items() if mart["version"] == self.name and mart["way"] in (Way.ROWS, Way.MOVE))


def prepare(connection: psycopg.Connection) -> None:
    """The table is there afterwards."""
    with short_transaction(connection):
        ensure_tables(connection, [TABLE])


def current(connection: psycopg.Connection, refresh: str) -> Version | None:
    """Return what is live of a refresh; None before its first publishing."""
    row = connection.execute(
        "select version, published_at, marts, previous_version, held_since from dbt_refresh_version where refresh = %s", [refresh]
    ).fetchone()
    return Version(*row) if row else None


def published_since(connection: psycopg.Connection, refresh: str) -> str | None:
    """Return another refresh that has published some of the same marts since; None if there is none."""
    row = connection.execute(
        "select other.refresh from dbt_refresh_version own join dbt_refresh_version other on other.refresh <> own.refresh"
        " where own.refresh = %s and other.published_at > own.published_at"
        " and other.marts ?| array(select jsonb_object_keys(own.marts)) limit 1",
        [refresh],
    ).fetchone()
    return str(row[0]) if row else None


def published_by(connection: psycopg.Connection, refresh: str, version: str) -> Mapping[str, str]:
    """Return the marts, by schema.name, that the run itself has made live, unless somebody else has since; and in which way."""
    live = current(connection, refresh)
    if live is None or live.name != version or published_since(connection, refresh) is not None:
        return {}
    return {name: str(mart["way"]) for name, mart in live.marts.items() if mart["version"] == version}


def record(connection: psycopg.Connection, refresh: str, version: str, live: Live, in_place: Mapping[str, int]) -> None:
    """Note that a version is live; what was live before is the previous one.

    `in_place` are the rows, by schema.name, of marts that are not published but built where they are read.
    """
    marts = {name: {"rows": rows, "version": version, "way": _IN_PLACE} for name, rows in in_place.items()}
    # An earlier version of the runner leaves out that what is kept is noted, see own_relations.
    marts |= {
        str(relation): {"rows": done.rows, "version": version, "way": done.way.value, "noted": True} for relation, done in live.items()
    }
    # Where an earlier attempt of the run has published a mart: how that took the place of what is kept still holds.
    again = published_by(connection, refresh, version)
    marts |= {name: {**mart, "way": again[name]} for name, mart in marts.items() if name in again}
    connection.execute(
        "insert into dbt_refresh_version as v (refresh, version, marts) values (%s, %s, %s)"
        # A run of some steps leaves the other marts as they were.
        " on conflict (refresh) do update set version = excluded.version, published_at = now(), marts = v.marts || excluded.marts,"
        "  previous_version = case when v.version = excluded.version then v.previous_version else v.version end,"
        "  previous_published_at = case when v.version = excluded.version then v.previous_published_at else v.published_at end,"
        "  previous_marts = case when v.version = excluded.version then v.previous_marts else v.marts end",
        (refresh, version, Jsonb(marts)),
    )


def record_rollback(connection: psycopg.Connection, refresh: str) -> None:
    """Note that the previous version is live again, and that nothing is to be published until somebody resumes."""
    connection.execute(
        "update dbt_refresh_version set version = previous_version, published_at = previous_published_at, marts = previous_marts,"
        "  previous_version = version, previous_published_at = published_at, previous_marts = marts, held_since = now()"
        " where refresh = %s",
        [refresh],
    )


def resume(connection: psycopg.Connection, refresh: str) -> None:
    """Note that publishing may go on."""
    connection.execute("update dbt_refresh_version set held_since = null where refresh = %s", [refresh])
