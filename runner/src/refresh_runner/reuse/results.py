"""The table dbt_refresh_result: what each relation of the warehouse holds, what it was built of, and what each test has found.

All refreshes of a warehouse share it, because one run writes to a warehouse at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import psycopg
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ValidationError

from refresh_runner.postgres.connection import ensure_tables, short_transaction
from refresh_runner.postgres.data_version import TableState
from refresh_runner.postgres.own_tables import Table

TABLE: Final = Table(
    "dbt_refresh_result",
    {
        "name": "text primary key",
        "node_id": "text",
        "run_id": "text not null",
        "made_at": "timestamptz not null default now()",
        "used_at": "timestamptz not null default now()",
        "result": "jsonb not null",
    },
)
_FORMAT: Final = 1
"""Version of what is stored. Results of other versions count as unknown."""
_KEPT_DAYS: Final = 90
"""Days after which a result that no run has used is deleted."""


class TestVerdict(BaseModel):
    """What a data test has found."""

    __test__ = False
    failures: int
    should_warn: bool
    should_error: bool


class Result(BaseModel):
    """The result of one relation or test. Empty fields mean unknown."""

    format: int = _FORMAT
    run_id: str = ""
    content: str = ""
    """Identifies the rows of a relation: the same text means the same rows. For a view, it identifies its definition."""
    state: TableState | None = None
    """The state of the relation with these rows."""
    attributes: str = ""
    """Digest of its indexes, constraints, privileges, comments and storage."""
    recipe: str = ""
    """Digest of all that the result depends on, besides what it reads. Empty for what the runner did not build, or cannot judge."""
    unsafe: str = ""
    """Why the result may be another one each time, or is not certain."""
    examined: str = ""
    """The part of this reason that comes from the statement alone."""
    shape: str = ""
    """Digest of the columns of the tables, and of the definitions of the views, with which the statement was examined."""
    inputs: dict[str, str] = {}
    """The content of each table that was read, and the definition of each view, by schema.name."""
    through_views: list[str] = []
    """Those of the tables that were read through views, and therefore where they are live."""
    verdict: TestVerdict | None = None


def load(connection: psycopg.Connection, names: Collection[str], *, may_create: bool = True) -> dict[str, Result]:
    """Return the results of relations, by schema.name, and of tests, by ID. Create the table if it does not exist and `may_create`."""
    with short_transaction(connection):
        if may_create:
            ensure_tables(connection, [TABLE])
        elif connection.execute("select to_regclass(%s)", [TABLE.name]).fetchone() == (None,):
            return {}
        rows = connection.execute("select name, result from dbt_refresh_result where name = any(%s)", [list(names)]).fetchall()
    found = {}
    for name, content in rows:
        try:
            result = Result.model_validate(content)
        except ValidationError:
            continue
        if result.format == _FORMAT:
            found[str(name)] = result
    return found


def save(connection: psycopg.Connection, changed: Mapping[str, Result], ids: Mapping[str, str], used: Collection[str], run_id: str) -> None:
    """Store results, and delete those that no run has used for long. `ids` are the nodes by the name of their result."""
    with short_transaction(connection):
        with connection.pipeline():
            for name, result in changed.items():
                connection.execute(
                    "insert into dbt_refresh_result (name, node_id, run_id, result) values (%s, %s, %s, %s)"
                    " on conflict (name) do update set node_id = excluded.node_id, run_id = excluded.run_id, made_at = now(),"
                    "  used_at = now(), result = excluded.result",
                    [name, ids.get(name), run_id, Jsonb(result.model_dump())],
                )
        connection.execute(
            "update dbt_refresh_result set used_at = now() where name = any(%s) and used_at < now() - interval '1 day'", [list(used)]
        )
        connection.execute("delete from dbt_refresh_result where used_at < now() - make_interval(days => %s)", [_KEPT_DAYS])
