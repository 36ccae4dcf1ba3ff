"""The data version of each mart, which a refresh records in the transaction that publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg

_MARTS = (
    "select distinct on (mart) mart, version, published_at from dbt_refresh_version, jsonb_object_keys(marts) as mart"
    " order by mart, published_at desc"
)


@dataclass(frozen=True)
class Version:
    """The live data version of a mart."""

    name: str
    """The run that published it."""
    published_at: datetime

    def json(self) -> Mapping[str, str]:
        """Return the version as front ends read it."""
        return {"name": self.name, "published_at": self.published_at.isoformat()}


def versions(connection: psycopg.Connection) -> Mapping[str, Version]:
    """Return the version of each mart by schema.name; empty before the first publish."""
    there = connection.execute("select to_regclass('dbt_refresh_version') is not null").fetchone()
    if not there or not there[0]:
        return {}
    return {mart: Version(str(name), published_at) for mart, name, published_at in connection.execute(_MARTS)}
