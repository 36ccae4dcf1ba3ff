"""Steps of a run in the spec: sources, layers, tests, validation, cache."""

from enum import StrEnum
from typing import Final, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import SET, Column, Endpoint, HeaderName, JsonPath, Relation, SecretKeyRef, Selector, StepName, Url, map_list
from refresh_api.model import SpecModel
from refresh_api.values import Duration, Percentage, rule

OWN_STEPS: Final = ("sources", "tests", "validation", "cache")
"""Names of the steps other than layers; a layer cannot have one of these names."""


class FailurePolicy(StrEnum):
    """What a run does after a failed test."""

    WARN = "Warn"
    FAIL = "Fail"


class StalePolicy(StrEnum):
    """What a run does if a source is stale."""

    WARN = "Warn"
    SKIP = "Skip"
    FAIL = "Fail"


class TestReuse(StrEnum):
    """Whether tests keep earlier verdicts."""

    __test__ = False
    AUTO = "Auto"
    NEVER = "Never"


class Layer(SpecModel):
    """A step that builds models with dbt."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    f"!(self.name in {list(OWN_STEPS)})", f"{', '.join(OWN_STEPS)} are names of other steps: choose another for this layer"
                )
            ]
        }
    )

    name: StepName = Field(description="Name of the step, shown in the status.")
    select: list[Selector] = Field(
        min_length=1,
        max_length=100,
        description="dbt selectors of the models to build, for example a model's name, tag:… or path:…. At least one.",
    )
    exclude: list[Selector] = Field(default_factory=list, max_length=100, description="dbt selectors of what to exclude from `select`.")
    timeout: Duration = Field(default="120s", description="Maximum duration of one try of this step. Defaults to 120s.")
    retries: int = Field(
        default=1,
        ge=0,
        le=10,
        description="Number of further tries for models that failed with a transient error (connection, lock, timeout). Defaults to 1.",
    )


class Sources(SpecModel):
    """The step that checks the sources' freshness, as `dbt source freshness` does."""

    stale_policy: StalePolicy = Field(
        default=StalePolicy.WARN,
        description="What a run does if a source is older than its error_after. Warn: continues and ends with warnings. Skip: is skipped. "
        "Fail: fails. With Skip and Fail nothing is built, and a source that could not be checked is checked again by the next "
        "attempt; the run fails if the last attempt cannot check it either. Defaults to Warn.",
    )
    timeout: Duration = Field(default="60s", description="Maximum duration of this step. Defaults to 60s.")


class Tests(SpecModel):
    """The step that runs dbt tests."""

    select: list[Selector] = Field(min_length=1, max_length=100, description="dbt selectors of the tests to run, for example tag:P2.")
    exclude: list[Selector] = Field(default_factory=list, max_length=100, description="dbt selectors of what to exclude from `select`.")
    failure_policy: FailurePolicy = Field(
        default=FailurePolicy.WARN,
        description="What a run does after a failed test. Warn: continues and ends with warnings. Fail: fails, and nothing is published. "
        "Defaults to Warn.",
    )
    timeout: Duration = Field(default="120s", description="Maximum duration of one try of this step. Defaults to 120s.")
    retries: int = Field(default=1, ge=0, le=10, description="Number of further tries after a transient error. Defaults to 1.")
    failed_rows_limit: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Maximum number of failing rows per test that are kept in the run log (failing_rows.json). Rows may contain "
        "personal data. No rows are kept of a test with store_failures: false. Defaults to 0.",
    )
    reuse: TestReuse = Field(
        default=TestReuse.AUTO,
        description="With unchangedPolicy: Reuse, whether tests keep earlier verdicts. Auto: a test that has passed or warned is not run "
        "again if its SQL and all that it reads provably have not changed, nor one that a NOT NULL or UNIQUE constraint of PostgreSQL "
        "enforces. Never: all tests run. Defaults to Auto.",
    )


class Recency(SpecModel):
    """Maximum age of a mart's newest record."""

    column: Column = Field(description="Column with the date of a record: a date or a timestamp.")
    max_age_days: int = Field(
        ge=0,
        le=3660,
        description="Maximum days between the newest record and the run's date (the dbt variable as_of). An older one is a WARNING.",
    )


class Mart(SpecModel):
    """A mart to validate, with the checks of its rows, NULLs, duplicates and newest record."""

    relation: Relation = Field(description="Table as schema.name, without quotes and in the case that PostgreSQL stores.")
    key_columns: list[Column] = Field(
        default_factory=list,
        max_length=16,
        description="Columns whose share of NULLs is checked. They must not have a NOT NULL constraint.",
    )
    max_null_share: Percentage | None = Field(default=None, description="Overrides validation.maxNullShare for this mart.")
    unique_key: list[Column] = Field(
        default_factory=list,
        max_length=16,
        description="Columns that identify a row. Duplicates are a WARNING. Defaults to no check.",
    )
    recency: Recency | None = Field(default=None, description="Maximum age of the newest record. Defaults to no check.")
    max_row_count_change: Percentage | None = Field(
        default=None,
        description="Maximum difference between the number of rows and the median of the last ten published runs. A larger one is a "
        "WARNING. Requires three published runs. Defaults to no check.",
    )
    min_rows: int = Field(
        default=1,
        ge=0,
        le=1_000_000_000_000,
        description="Minimum number of rows. A mart with fewer is FAILED, and nothing is published. 0 allows an empty mart. Defaults to 1.",
    )


class Validation(SpecModel):
    """The step that validates marts. A mart is VALID, WARNING (such as too many NULLs in a key) or FAILED (too few rows, no table)."""

    max_null_share: Percentage = Field(
        default="10%", description="Share of NULLs in a key column at or above which the mart is a WARNING. Defaults to 10%."
    )
    marts: list[Mart] = Field(min_length=1, max_length=64, json_schema_extra=map_list("relation"), description="Marts to validate.")


class CacheVersion(SpecModel):
    """Where the API reports its data version: in a response header or in a field of the JSON response."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [rule("has(self.header) != has(self.field)", "name exactly one of header and field")]
        }
    )

    header: HeaderName | None = Field(default=None, description="Name of a response header, for example X-Data-Version.")
    field: JsonPath | None = Field(
        default=None, description="Field of the JSON response, with dots between levels, for example meta.version."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (self.field is None):
            raise ValueError("name exactly one of header and field")
        return self


class Cache(SpecModel):
    """The step that calls the API of the dashboards, so that it rebuilds its cache."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("size(self.endpoints) > 0 || self.fromExposures", "name at least one endpoint, or set fromExposures: true")
            ]
        }
    )

    base_url: Url = Field(
        default="http://localhost:8000",
        alias="baseURL",
        description="Base URL of the API. Outside a cluster, the environment variable API_BASE_URL overrides it. "
        "Defaults to http://localhost:8000.",
    )
    timeout: Duration = Field(default="30s", description="Maximum time for one endpoint. Defaults to 30s.")
    endpoints: list[Endpoint] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=SET,
        description="Paths to call with GET. 200 is a success, anything else a warning.",
    )
    from_exposures: bool = Field(
        default=False,
        description="Also calls the endpoints that the dbt project's exposures name in meta.endpoint for the validated marts. A mart "
        "without an endpoint is a warning. Defaults to false.",
    )
    version: CacheVersion | None = Field(
        default=None,
        description="Where the API reports its data version. Each endpoint must then report the live version "
        "(dbt_refresh_version.version) within `timeout`. While a standby lags, or the warehouse's user cannot see whether it does, "
        "`timeout` is paused for at most two minutes. Defaults to no check.",
    )
    wait_for_replicas: Duration | None = Field(
        default=None,
        description="Maximum time to wait, before the calls, until every streaming standby has replayed the publish. After it the "
        "endpoints are called, with a warning. For APIs that read from a standby. The warehouse's user needs the role "
        "pg_read_all_stats. Defaults to no wait.",
    )
    authorization_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret key with the value of the Authorization header. Defaults to no header."
    )

    @model_validator(mode="after")
    def _calls_something(self) -> Self:
        if not self.endpoints and not self.from_exposures:
            raise ValueError("name at least one endpoint, or set fromExposures: true")
        return self
