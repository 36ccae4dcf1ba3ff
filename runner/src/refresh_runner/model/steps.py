"""The steps of a plan, with their tasks and limits."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from refresh_api.fields import SecretKeyRef
from refresh_api.steps import CacheVersion, FailurePolicy, Recency, StalePolicy


@dataclass(frozen=True)
class Selection:
    """Selects nodes by dbt's selector syntax."""

    select: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourcesStep:
    """Check the freshness of the sources that the layers read."""

    stale_policy: StalePolicy
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
    """Prevents pytest from collecting this class."""
    selection: Selection
    timeout: timedelta
    retries: int
    failure_policy: FailurePolicy
    failed_rows_limit: int = 0
    """Number of rows that are stored of each failed test."""
    reuses_verdicts: bool = True
    """Whether tests keep earlier verdicts, if the refresh reuses nodes."""
    name: str = "tests"


@dataclass(frozen=True)
class MartCheck:
    """A mart to validate, and its limits."""

    schema: str
    table: str
    key_columns: tuple[str, ...] = ()
    """Columns in which NULLs are counted."""
    max_null_share: Decimal = Decimal("0.1")
    unique_key: tuple[str, ...] = ()
    """Columns that must be unique together."""
    recency: Recency | None = None
    time_zone: str = "Etc/UTC"
    """Time zone in which a timestamp is converted to a date."""
    max_row_count_change: Decimal | None = None
    """Maximum deviation of the number of rows from the median of earlier runs, as a share."""
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
    """The date relative to which ages are computed."""
    name: str = "validation"


@dataclass(frozen=True)
class CacheStep:
    """Have the dashboards' API rebuild its cache."""

    base_url: str
    endpoints: tuple[str, ...]
    timeout: timedelta
    version: CacheVersion | None = None
    """Where a response contains the data version."""
    authorization: SecretKeyRef | None = None
    from_exposures: bool = False
    """Whether the project's exposures declare further endpoints."""
    wait_for_replicas: timedelta | None = None
    """How long to wait for standbys first; None means no wait."""
    name: str = "cache"


Step = SourcesStep | LayerStep | TestsStep | ValidationStep | CacheStep
