"""What users write of a run's steps: sources, layers, tests, validation, cache."""

from enum import StrEnum
from typing import Final, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import SET, Column, Endpoint, HeaderName, JsonPath, Relation, SecretKeyRef, Selector, StepName, Url, map_list
from refresh_api.model import SpecModel
from refresh_api.values import Duration, Percentage, rule

OWN_STEPS: Final = ("sources", "tests", "validation", "cache")
"""Names of the steps that follow the layers; no layer may have them."""


class FailurePolicy(StrEnum):
    """What failed tests do to a run."""

    WARN = "Warn"
    FAIL = "Fail"


class StalePolicy(StrEnum):
    """What sources that were not loaded in time do to a run."""

    WARN = "Warn"
    SKIP = "Skip"
    FAIL = "Fail"


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
    select: list[Selector] = Field(min_length=1, max_length=100, description="What dbt builds: model names, tag:…, path:…; at least one.")
    exclude: list[Selector] = Field(default_factory=list, max_length=100, description="What dbt leaves out of `select`.")
    timeout: Duration = Field(default="120s", description="Longest duration of one try of this step.")
    retries: int = Field(
        default=1,
        ge=0,
        le=10,
        description="How often the failed models are tried again, where the error is one that can pass (connection, lock, time-out).",
    )


class Sources(SpecModel):
    """The step that asks how old the sources are, by the freshness that the dbt project states for them."""

    stale_policy: StalePolicy = Field(
        default=StalePolicy.WARN,
        description="When a source is older than its error_after. Warn: the run goes on and ends with warnings. Skip: nothing is built, "
        "and the run is skipped. Fail: nothing is built, and the run fails. With both, sources that could not be asked (the connection was "
        "lost, for example) are asked again by another attempt, and the run fails if the last one can't either.",
    )
    timeout: Duration = Field(default="60s", description="Longest duration of this step.")


class Tests(SpecModel):
    """The step that runs dbt's tests."""

    select: list[Selector] = Field(min_length=1, max_length=100, description="Which tests dbt runs, for example tag:P2.")
    exclude: list[Selector] = Field(default_factory=list, max_length=100, description="What dbt leaves out of `select`.")
    failure_policy: FailurePolicy = Field(
        default=FailurePolicy.WARN,
        description="Warn: the run goes on and ends with warnings. Fail: the run fails and the cache is not called.",
    )
    timeout: Duration = Field(default="120s", description="Longest duration of one try of this step.")
    retries: int = Field(default=1, ge=0, le=10, description="How often the tests are tried again, where the error is one that can pass.")
    failed_rows_limit: int = Field(
        default=0,
        ge=0,
        le=100,
        description="How many of the rows that a failed test found are kept with the run, in the warehouse (failing_rows.json). "
        "None unless given: rows may be about people. None of a test whose store_failures is false in the dbt project.",
    )


class Recency(SpecModel):
    """How old a mart's newest record may be."""

    column: Column = Field(description="Column with the date of a record: a date or a timestamp.")
    max_age_days: int = Field(
        ge=0, le=3660, description="Days before the run's date (dbt's variable as_of); a newest record older than that is a WARNING."
    )


class Mart(SpecModel):
    """A mart that is counted and checked for NULLs after it was built."""

    relation: Relation = Field(description="Table as schema.name, as PostgreSQL has them: without quotes, in their case.")
    key_columns: list[Column] = Field(
        default_factory=list, max_length=16, description="Columns whose share of NULL is checked. They must carry no NOT NULL constraint."
    )
    max_null_share: Percentage | None = Field(default=None, description="For this mart, instead of validation.maxNullShare.")
    unique_key: list[Column] = Field(
        default_factory=list,
        max_length=16,
        description="Columns that together tell rows apart: doubled rows are a WARNING. Not looked at if empty.",
    )
    recency: Recency | None = Field(default=None, description="How old the newest record may be; not looked at unless given.")
    max_row_count_change: Percentage | None = Field(
        default=None,
        description="A number of rows that is further than this from what is usual, the median of the last ten published runs, is a "
        "WARNING. Not looked at unless given, nor before three such runs.",
    )
    min_rows: int = Field(
        default=1,
        ge=0,
        le=1_000_000_000_000,
        description="A mart with fewer rows is FAILED, and nothing is published. 0 publishes it empty too. Defaults to 1.",
    )


class Validation(SpecModel):
    """The step that gives each mart a verdict: VALID, WARNING (too many NULLs in a key) or FAILED (too few rows, no table)."""

    max_null_share: Percentage = Field(
        default="10%", description="A key column with this share of NULL, or more, makes its mart a WARNING."
    )
    marts: list[Mart] = Field(min_length=1, max_length=64, json_schema_extra=map_list("relation"), description="The marts to validate.")


class CacheVersion(SpecModel):
    """Where the API says which data it serves: in a header or in a field of its JSON answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [rule("has(self.header) != has(self.field)", "name exactly one of header and field")]
        }
    )

    header: HeaderName | None = Field(default=None, description="Name of a header of the answer, for example X-Data-Version.")
    field: JsonPath | None = Field(default=None, description="Field of the JSON answer, dots between the levels, for example meta.version.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (self.field is None):
            raise ValueError("name exactly one of header and field")
        return self


class Cache(SpecModel):
    """The step that calls the dashboards' API so that it rebuilds its cache."""

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
        description="Address of the API. Outside a cluster the variable API_BASE_URL wins.",
    )
    timeout: Duration = Field(default="30s", description="Longest wait for one endpoint.")
    endpoints: list[Endpoint] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=SET,
        description="Paths that are called with GET; 200 is success, anything else a warning.",
    )
    from_exposures: bool = Field(
        default=False,
        description="Call also the endpoints that the dbt project's exposures state, in their meta as `endpoint`, for the marts of "
        "`validation`. A mart for which none is stated is a warning.",
    )
    version: CacheVersion | None = Field(
        default=None,
        description="Where the API says which data it serves. Each endpoint must then answer, within `timeout`, with the version that is "
        "live: the run that published it, column version of dbt_refresh_version. While a standby is behind, or the warehouse's user may "
        "not see whether it is, `timeout` does not count, for two minutes in all. Defaults to no check.",
    )
    wait_for_replicas: Duration | None = Field(
        default=None,
        description="Longest wait, before the endpoints are called, until every standby that streams from the warehouse has replayed what "
        "was published; then they are called all the same, with a warning. For an API that reads from a standby. The warehouse's user "
        "needs the role pg_read_all_stats. Defaults to no wait.",
    )
    authorization_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret key with the value of the header Authorization of each call; none is sent unless given."
    )

    @model_validator(mode="after")
    def _calls_something(self) -> Self:
        if not self.endpoints and not self.from_exposures:
            raise ValueError("name at least one endpoint, or set fromExposures: true")
        return self
