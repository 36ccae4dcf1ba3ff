"""What tells whether a run would make anything new: the relations that it reads and makes, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from refresh_runner.postgres.catalog import Relation


@dataclass(frozen=True)
class TrackedRelations:
    """What a run reads and what it makes, as the dbt project knows it."""

    read: frozenset[Relation] = frozenset()
    """What its models and tests read that it does not build."""
    models: frozenset[Relation] = frozenset()
    """All tables that the project builds."""
    made: frozenset[Relation] = frozenset()
    """What the run builds or answers for, where readers find it."""
    unknown: str = ""
    """Why the project can't say what is read; empty if it can."""


class Table(BaseModel):
    """What is kept of a table."""

    file: str
    """Tells it from one that took its place, from itself once it was emptied or rewritten, and its columns from others."""
    lines: int
    horizon: int
    """Every transaction with a smaller number had ended."""
    authors: list[int]
    """Further transactions whose lines were there."""
    written: int | None = None
    """Lines that were ever inserted, updated or deleted; unset where it only matters what is there."""


class Snapshot(BaseModel):
    """Relations as they were at one moment, by schema.name."""

    tables: dict[str, Table] = {}
    digests: dict[str, str] = {}
    """Of the rows and columns of others' models, and of the definitions of views."""


class Inputs(BaseModel):
    """What is kept of a run."""

    read: Snapshot
    """Before its first step."""
    made: Snapshot | None = None
    """After its last step; unset until it has done that."""
    version: str | None = None
    """The data that was live then."""


def inputs_of(kept: JsonValue) -> Inputs | None:
    """Return what was kept of a run; None of one that kept nothing, or in a form that is not ours."""
    try:
        return Inputs.model_validate(kept)
    except ValidationError:
        return None
