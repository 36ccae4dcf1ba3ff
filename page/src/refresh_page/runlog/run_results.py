"""Finds the SQL of one node in run_results.json, dbt's results of a run, which the runner has redacted before it stored them."""

from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from refresh_page.kube.models import Lenient

MAX_SQL: Final = 100_000
"""Maximum characters of a statement that a page shows."""


class _Result(Lenient):
    unique_id: str = ""
    compiled_code: str | None = None


class _Results(Lenient):
    results: tuple[_Result, ...] = ()


_RESULTS: Final = TypeAdapter(_Results)


@dataclass(frozen=True)
class Statement:
    """What dbt executed for a node."""

    sql: str
    is_cut: bool
    """Whether `sql` is only the beginning."""


def compiled_sql(content: bytes, node: str) -> Statement | None:
    """Return the SQL that dbt compiled for a node, by its ID; None if the results do not have it, or cannot be read."""
    try:
        found = _RESULTS.validate_json(content)
    except ValidationError:
        return None
    text = next((each.compiled_code for each in found.results if each.unique_id == node), None)
    return Statement(text[:MAX_SQL], len(text) > MAX_SQL) if text else None
