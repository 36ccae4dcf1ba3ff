"""The steps of a plan: what each is to do, with its limits."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from refresh_api.fields import SecretKeyRef
from refresh_api.steps import CacheVersion, Newest, OnFailure, OnStale


@dataclass(frozen=True)
class Selection:
    """Which nodes dbt takes."""

    select: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourcesStep:
    """Ask how old the sources are that the layers read."""

    on_stale: OnStale
    timeout: timedelta
    name: str = "sources"


@dataclass(frozen=True)
class LayerStep:
    """Build models."""

    name: str
    selection: Selection
    timeout: timedelta
    retries: int


@dataclass(frozen=True)
class TestsStep:
    """Run dbt's tests."""

    __test__: ClassVar = False
    """For pytest, which takes a class of this name for tests of its own."""
    selection: Selection
    timeout: timedelta
    retries: int
    on_failure: OnFailure
    sample_rows: int = 0
    """How many of the rows that a failed test found are kept."""
    name: str = "tests"


@dataclass(frozen=True)
class MartCheck:
    """A mart to count, and what is expected of it."""

    schema: str
    table: str
    keys: tuple[str, ...] = ()
    """Columns in which NULLs are counted."""
    max_null_share: Decimal = Decimal("0.1")
    unique: tuple[str, ...] = ()
    """Columns that tell rows apart."""
    newest: Newest | None = None
    time_zone: str = "Etc/UTC"
    """In which a moment has its date."""
    max_row_change: Decimal | None = None
    """How far from what is usual its number of rows may be."""
    min_rows: int = 1

    @property
    def relation(self) -> str:
        """The table as schema.name."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class ValidationStep:
    """Give each mart a verdict."""

    marts: tuple[MartCheck, ...]
    as_of: date
    """The date from which ages are counted."""
    name: str = "validation"


@dataclass(frozen=True)
class CacheStep:
    """Have the dashboards' API rebuild its cache."""

    base_url: str
    endpoints: tuple[str, ...]
    timeout: timedelta
    version: CacheVersion | None = None
    """Where the API says which data it serves."""
    authorization: SecretKeyRef | None = None
    from_exposures: bool = False
    """Whether the project's exposures name further endpoints."""
    wait_for_replicas: timedelta | None = None
    """How long standbys are waited for before; None if they are not."""
    name: str = "cache"


Step = SourcesStep | LayerStep | TestsStep | ValidationStep | CacheStep
