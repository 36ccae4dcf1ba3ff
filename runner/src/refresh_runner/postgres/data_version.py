"""The state of a run's inputs and outputs, as stored in the run log. It shows whether another run would change anything."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from refresh_runner.postgres.catalog import Relation


@dataclass(frozen=True)
class TrackedRelations:
    """The relations that a run reads and builds, according to the dbt project."""

    inputs: frozenset[Relation] = frozenset()
    """What the models and tests of the run read, except what the run builds."""
    models: frozenset[Relation] = frozenset()
    """All tables that the project builds, in this run or not."""
    outputs: frozenset[Relation] = frozenset()
    """The relations that the run builds or validates, by live name."""
    unknown_reason: str = ""
    """Why the inputs are unknown; empty if they are known."""


class TableState(BaseModel):
    """The state of a table's rows, without reading their values."""

    storage_id: str
    """Changes if the table is replaced, truncated or rewritten, or if its columns change."""
    row_count: int
    xmin: int
    """All transactions with a smaller ID had ended."""
    xids: list[int]
    """IDs, from `xmin` on, of transactions that had written visible rows."""
    rows_written: int | None = None
    """Number of rows ever inserted, updated or deleted, by PostgreSQL's counters; None for outputs, of which only the current rows
    matter."""

    @property
    def columns(self) -> str:
        """Names and types of its columns, in order."""
        return self.storage_id.partition(" ")[2]


class Snapshot(BaseModel):
    """The state of relations at one moment, by schema.name."""

    tables: dict[str, TableState] = {}
    digests: dict[str, str] = {}
    """Digests of all rows and columns of other refreshes' models, and of the definitions of views."""


class RunSnapshots(BaseModel):
    """The stored snapshots of one run."""

    inputs: Snapshot
    """The state before the first step."""
    outputs: Snapshot | None = None
    """The state after the last step; None until then."""
    version: str | None = None
    """The data version that was live after the last step."""
    proof: str = ""
    """Digest of the server and of what belongs to the outputs besides their rows, if the results of all nodes were proven to depend on
    nothing else; empty if not."""


def parse_snapshots(kept: JsonValue) -> RunSnapshots | None:
    """Parse the stored snapshots of a run. Return None if there are none or they have another form, which counts as changed."""
    try:
        return RunSnapshots.model_validate(kept)
    except ValidationError:
        return None
