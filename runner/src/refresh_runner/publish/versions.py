"""The data version that is live: one row per refresh, written in the transaction that publishes its marts.

A reader can query it in the same snapshot as the marts, and thus prove which version it serves.
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
from refresh_runner.publish.options import PublishResults, PublishStrategy

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


_DIRECT: Final = "InPlace"
"""Stored in place of a strategy for marts that are built directly under their live name."""


@dataclass(frozen=True)
class DataVersion:
    """The data version that is live."""

    name: str
    """The run that built it."""
    published_at: datetime
    marts: Mapping[str, Mapping[str, str | int]]
    """By schema.name: rows, the run that published it (version), and the strategy (way)."""
    previous: str | None
    """The data version that was live before; None if there is none."""
    held_since: datetime | None
    """When a rollback made it live. Nothing is published until a run with mode resume."""

    @property
    def replaced(self) -> list[str]:
        """The marts, as schema.name, that have a previous relation because this version replaced it."""
        return sorted(
            name
            for name, mart in self.marts.items()
            if mart["version"] == self.name and mart["way"] in (PublishStrategy.MERGE, PublishStrategy.SWAP)
        )


def prepare(connection: psycopg.Connection) -> None:
    """Create the table if it does not exist."""
    with short_transaction(connection):
        ensure_tables(connection, [TABLE])


def current(connection: psycopg.Connection, refresh: str) -> DataVersion | None:
    """Return the live data version of a refresh; None before the first publish."""
    row = connection.execute(
        "select version, published_at, marts, previous_version, held_since from dbt_refresh_version where refresh = %s", [refresh]
    ).fetchone()
    return DataVersion(*row) if row else None


def published_since(connection: psycopg.Connection, refresh: str) -> str | None:
    """Return another refresh that has published any of the same marts since; None if there is none."""
    row = connection.execute(
        "select other.refresh from dbt_refresh_version own join dbt_refresh_version other on other.refresh <> own.refresh"
        " where own.refresh = %s and other.published_at > own.published_at"
        " and other.marts ?| array(select jsonb_object_keys(own.marts)) limit 1",
        [refresh],
    ).fetchone()
    return str(row[0]) if row else None


def published_by(connection: psycopg.Connection, refresh: str, version: str) -> Mapping[str, str]:
    """Return the strategies by schema.name of marts that this run has published; empty if another refresh has published one since."""
    live = current(connection, refresh)
    if live is None or live.name != version or published_since(connection, refresh) is not None:
        return {}
    return {name: str(mart["way"]) for name, mart in live.marts.items() if mart["version"] == version}


def record(connection: psycopg.Connection, refresh: str, version: str, live: PublishResults, in_place: Mapping[str, int]) -> None:
    """Record that a version is live. The version that was live before becomes the previous version.

    `in_place` are the row counts, by schema.name, of marts that dbt builds directly under their live name.
    """
    marts = {name: {"rows": rows, "version": version, "way": _DIRECT} for name, rows in in_place.items()}
    # An earlier version of the runner does not write `noted`. Its previous relations are not in the registry; see own_relations.
    marts |= {
        str(relation): {"rows": done.rows, "version": version, "way": done.strategy.value, "noted": True} for relation, done in live.items()
    }
    # If an earlier attempt of this run has published a mart, its strategy is the one that replaced the previous relation.
    again = published_by(connection, refresh, version)
    marts |= {name: {**mart, "way": again[name]} for name, mart in marts.items() if name in again}
    connection.execute(
        "insert into dbt_refresh_version as v (refresh, version, marts) values (%s, %s, %s)"
        # A run of some models leaves the other marts unchanged.
        " on conflict (refresh) do update set version = excluded.version, published_at = now(), marts = v.marts || excluded.marts,"
        "  previous_version = case when v.version = excluded.version then v.previous_version else v.version end,"
        "  previous_published_at = case when v.version = excluded.version then v.previous_published_at else v.published_at end,"
        "  previous_marts = case when v.version = excluded.version then v.previous_marts else v.marts end",
        (refresh, version, Jsonb(marts)),
    )


def record_rollback(connection: psycopg.Connection, refresh: str) -> None:
    """Record that the previous version is live again, and hold publishing until a run with mode resume."""
    connection.execute(
        "update dbt_refresh_version set version = previous_version, published_at = previous_published_at, marts = previous_marts,"
        "  previous_version = version, previous_published_at = published_at, previous_marts = marts, held_since = now()"
        " where refresh = %s",
        [refresh],
    )


def resume(connection: psycopg.Connection, refresh: str) -> None:
    """Release the hold on publishing."""
    connection.execute("update dbt_refresh_version set held_since = null where refresh = %s", [refresh])
