"""Which data is live, as the refreshes write it down in the transaction that publishes: the version of each mart, and since when."""

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
    """The data of a mart that is live."""

    name: str
    """The run that published it."""
    published_at: datetime

    def json(self) -> Mapping[str, str]:
        """As front ends read it."""
        return {"name": self.name, "published_at": self.published_at.isoformat()}


def versions(connection: psycopg.Connection) -> Mapping[str, Version]:
    """The version of each mart, by schema.name; none before the first publishing."""
    there = connection.execute("select to_regclass('dbt_refresh_version') is not null").fetchone()
    if not there or not there[0]:
        return {}
    return {mart: Version(str(name), published_at) for mart, name, published_at in connection.execute(_MARTS)}
