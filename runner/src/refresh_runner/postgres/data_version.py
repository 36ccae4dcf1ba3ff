"""What tells whether a run would make anything new: the relations that it reads and makes, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from refresh_runner.postgres.catalog import Relation


@dataclass(frozen=True)
class TrackedRelations:
    """What a run reads and what it makes, as the dbt project knows it."""

    inputs: frozenset[Relation] = frozenset()
    """What its models and tests read that it does not build."""
    models: frozenset[Relation] = frozenset()
    """All tables that the project builds."""
    outputs: frozenset[Relation] = frozenset()
    """What the run builds or answers for, where readers find it."""
    unknown_reason: str = ""
    """Why the project can't say what is read; empty if it can."""


class TableState(BaseModel):
    """What is kept of a table."""

    storage_id: str
    """Tells it from one that took its place, from itself once it was emptied or rewritten, and its columns from others."""
    row_count: int
    xmin: int
    """Every transaction with a smaller number had ended."""
    xids: list[int]
    """Further transactions whose lines were there."""
    rows_written: int | None = None
    """Lines that were ever inserted, updated or deleted; unset where it only matters what is there."""


class Snapshot(BaseModel):
    """Relations as they were at one moment, by schema.name."""

    tables: dict[str, TableState] = {}
    digests: dict[str, str] = {}
    """Of the rows and columns of others' models, and of the definitions of views."""


class RunSnapshots(BaseModel):
    """What is kept of a run."""

    inputs: Snapshot
    """Before its first step."""
    outputs: Snapshot | None = None
    """After its last step; unset until it has done that."""
    version: str | None = None
    """The data that was live then."""


def parse_snapshots(kept: JsonValue) -> RunSnapshots | None:
    """Return what was kept of a run; None of one that kept nothing, or in a form that is not ours."""
    try:
        return RunSnapshots.model_validate(kept)
    except ValidationError:
        return None
