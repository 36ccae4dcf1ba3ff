"""What users write: the spec of a DashboardRefresh, with its defaults, bounds and the texts that `kubectl explain` prints."""

import re
from collections import Counter
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from refresh_api import cron
from refresh_api.model import Model
from refresh_api.pod_template import PodTemplate
from refresh_api.values import Duration, Percentage, Quantity, Text, quantity, rule, string_schema

OWN_STEPS: Final = ("sources", "tests", "validation", "cache")
"""Names of the steps that follow the layers; no layer may have them."""

_NAME = "write lower-case letters, digits and dashes"
StepName = Annotated[str, Text(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", _NAME, 40)]
ObjectName = Annotated[str, Text(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", f"{_NAME}, as in the name of an object", 253)]
SecretKey = Annotated[str, Text(r"^[-._a-zA-Z0-9]+$", "write letters, digits, dashes, dots and underscores, as in a key of a Secret", 253)]
Identifier = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write a PostgreSQL name: letters, digits and underscores", 63)]
Relation = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$", "write a table as schema.name", 127)]
Endpoint = Annotated[str, Text(r"^/[^\s]*$", "write a path that begins with a slash", 512)]
Url = Annotated[str, Text(r"^https?://[^\s/?#]+[^\s]*$", "write an address that begins with http:// or https://", 512)]
Email = Annotated[str, Text(r"^[^@\s,<>]+@[^@\s,<>]+$", "write one mail address, like name@example.org", 254)]
HeaderName = Annotated[str, Text(r"^[A-Za-z0-9-]+$", "write the name of a header, like X-Data-Version", 64)]
JsonPath = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$", "write a field, like meta.version", 128)]
Channel = Annotated[str, Text(r"^[#@][^\s]+$", "write a channel like #alerts or a person like @name", 80)]
Selector = Annotated[str, Text(r"^[^\s-][^\s]*$", "write one dbt selector: a model's name, tag:name or path:folder; never an option", 256)]


def _checked_schedule(line: str) -> str:
    if len(line) > 256:
        raise ValueError("write at most 256 characters")
    if line.startswith(("TZ=", "CRON_TZ=")):
        raise ValueError("the zone belongs into timeZone")
    cron.parse(line)
    return line


def _checked_zone(name: str) -> str:
    if name == "Local" or not re.match(_ZONE_PATTERN, name):
        raise ValueError(_ZONE_SAYS)
    try:
        cron.zone_of(name)
    except LookupError as error:
        raise ValueError(str(error)) from None
    return name


def _cron_field(number: str, names: str = "") -> str:
    value = f"({number}|{names})" if names else number
    return rf"([*?]|{value}(-{value})?)(/0*[1-9][0-9]{{0,3}})?"


def _cron_pattern() -> str:
    items = (
        _cron_field("0*[1-5]?[0-9]"),
        _cron_field("0*(1?[0-9]|2[0-3])"),
        _cron_field("0*([1-9]|[12][0-9]|3[01])"),
        _cron_field("0*([1-9]|1[0-2])", "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"),
        _cron_field("0*[0-6]", "(?i:sun|mon|tue|wed|thu|fri|sat)"),
    )
    return "^" + " +".join(f"{item}(,{item})*" for item in items) + "$"


_SCHEDULE_SAYS = 'write a cron line of five fields (minute, hour, day of month, month, day of week 0-6), like "30 2,5,8 * * *"'
_ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_ZONE_SAYS = "write the IANA name of a time zone, like Etc/UTC or Europe/Paris"

CronLine = Annotated[
    str,
    AfterValidator(_checked_schedule),
    WithJsonSchema(string_schema(256, rule(f"self.matches(r'{_cron_pattern()}')", _SCHEDULE_SAYS))),
]
TimeZone = Annotated[
    str,
    AfterValidator(_checked_zone),
    WithJsonSchema(
        string_schema(
            64,
            # The second rule fails in the evaluation itself where the API server knows no such zone, and its answer names the zone.
            rule(f"self != 'Local' && self.matches(r'{_ZONE_PATTERN}')", _ZONE_SAYS),
            rule("timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0", _ZONE_SAYS),
        )
    ),
]


def _map_list(key: str) -> dict[str, JsonValue]:
    """Schema of a list whose items are told apart by a key: the API server refuses a doubled one and names it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


_SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}


class OnFailure(StrEnum):
    """What failed tests do to a run."""

    WARN = "Warn"
    FAIL = "Fail"


class Publish(StrEnum):
    """When readers see new marts."""

    SWAP = "Swap"
    DIRECT = "Direct"


class OnStale(StrEnum):
    """What sources that were not loaded in time do to a run."""

    WARN = "Warn"
    SKIP = "Skip"
    FAIL = "Fail"


class OnHeld(StrEnum):
    """What a run does when another one holds the warehouse."""

    WAIT = "Wait"
    SKIP = "Skip"
    FAIL = "Fail"


class NotifyWhen(StrEnum):
    """When people are told. (The field is `when`, not `on`: YAML 1.1 reads the key `on` as a boolean, and so does kubectl.)"""

    FAILED = "Failed"


class SecretRef(Model):
    """A Secret in the refresh's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class SecretKeyRef(Model):
    """One key of a Secret in the refresh's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: SecretKey = Field(description="Key within the Secret.")


class Warehouse(Model):
    """The PostgreSQL database that dbt builds."""

    secret_ref: SecretRef = Field(
        description="Secret with the connection: host, dbname, user and password; "
        "optional are port (5432), sslmode (prefer) and sslrootcert (PEM)."
    )


class Lock(Model):
    """How runs on the same warehouse exclude each other."""

    on_held: OnHeld = Field(
        default=OnHeld.WAIT,
        description="When another run holds the warehouse: Wait up to `wait` and then skip this run, Skip it at once, or Fail it at once.",
    )
    wait: Duration = Field(default="5m", description="How long a run with onHeld: Wait waits for the warehouse.")


class Dbt(Model):
    """How dbt is called."""

    threads: int = Field(default=8, ge=1, le=64, description="Models that dbt builds at the same time.")
    target: Identifier = Field(default="prod", description="Name of dbt's target, visible to models as target.name.")
    target_schema: Identifier = Field(
        default="dwh",
        alias="schema",
        description="Schema of models that name none; the project's own schemas are used as they are written.",
    )
    vars: dict[str, JsonValue] = Field(
        default_factory=dict,
        max_length=64,
        description="dbt variables. `as_of` (a date, YYYY-MM-DD) is the run's date in timeZone unless it is given here.",
    )


class Layer(Model):
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


class Sources(Model):
    """The step that asks how old the sources are, by the freshness that the dbt project states for them."""

    on_stale: OnStale = Field(
        default=OnStale.WARN,
        description="When a source is older than its error_after. Warn: the run goes on and ends with warnings. Skip: nothing is built, "
        "and the run is skipped. Fail: nothing is built, and the run fails.",
    )
    timeout: Duration = Field(default="60s", description="Longest duration of this step.")


class Tests(Model):
    """The step that runs dbt's tests."""

    select: list[Selector] = Field(min_length=1, max_length=100, description="Which tests dbt runs, for example tag:P2.")
    exclude: list[Selector] = Field(default_factory=list, max_length=100, description="What dbt leaves out of `select`.")
    on_failure: OnFailure = Field(
        default=OnFailure.WARN, description="Warn: the run goes on and ends with warnings. Fail: the run fails and the cache is not called."
    )
    timeout: Duration = Field(default="120s", description="Longest duration of one try of this step.")
    retries: int = Field(default=1, ge=0, le=10, description="How often the tests are tried again, where the error is one that can pass.")


class Newest(Model):
    """How old a mart's newest record may be."""

    column: Identifier = Field(description="Column with the date of a record: a date or a timestamp.")
    max_age_days: int = Field(
        ge=0, le=3660, description="Days before the run's date (dbt's variable as_of); a newest record older than that is a WARNING."
    )


class Mart(Model):
    """A mart that is counted and checked for NULLs after it was built."""

    relation: Relation = Field(description="Table as schema.name.")
    keys: list[Identifier] = Field(
        default_factory=list, max_length=16, description="Columns whose share of NULL is checked. They must carry no NOT NULL constraint."
    )
    max_null_share: Percentage | None = Field(default=None, description="For this mart, instead of validation.maxNullShare.")
    unique: list[Identifier] = Field(
        default_factory=list,
        max_length=16,
        description="Columns that together tell rows apart: doubled rows are a WARNING. Not looked at if empty.",
    )
    newest: Newest | None = Field(default=None, description="How old the newest record may be; not looked at unless given.")
    max_row_change: Percentage | None = Field(
        default=None,
        description="A number of rows that is further than this from what is usual, the median of the last ten published runs, is a "
        "WARNING. Not looked at unless given, nor before three such runs.",
    )


class Validation(Model):
    """The step that gives each mart a verdict: VALID, WARNING (too many NULLs in a key) or FAILED (no rows, no table)."""

    max_null_share: Percentage = Field(
        default="10%", description="A key column with this share of NULL, or more, makes its mart a WARNING."
    )
    marts: list[Mart] = Field(min_length=1, max_length=64, json_schema_extra=_map_list("relation"), description="The marts to validate.")


class CacheVersion(Model):
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


class Cache(Model):
    """The step that calls the dashboards' API so that it rebuilds its cache."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("size(self.endpoints) > 0 || self.fromExposures", "name at least one endpoint, or set fromExposures: true")
            ]
        }
    )

    base_url: Url = Field(
        default="http://localhost:8000", description="Address of the API. Outside a cluster the variable API_BASE_URL wins."
    )
    timeout: Duration = Field(default="30s", description="Longest wait for one endpoint.")
    endpoints: list[Endpoint] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=_SET,
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
        "live: the run that published it, column version of dbt_refresh_version. Not looked at unless given.",
    )
    authorization_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret key with the value of the header Authorization of each call; none is sent unless given."
    )

    @model_validator(mode="after")
    def _calls_something(self) -> Self:
        if not self.endpoints and not self.from_exposures:
            raise ValueError("name at least one endpoint, or set fromExposures: true")
        return self


class Slack(Model):
    """A Slack channel, by an incoming webhook."""

    channel: Channel = Field(description='Channel, for example "#alerts".')
    webhook_secret_ref: SecretKeyRef = Field(description="Secret key with the webhook's address.")


class EmailTo(Model):
    """Mail, by an SMTP server."""

    to: list[Email] = Field(min_length=1, max_length=20, description="Recipients.")
    smtp_secret_ref: SecretRef = Field(
        description="Secret with the SMTP server: host and from; "
        "optional are port (587), user, password and security (starttls, tls or none; starttls)."
    )


class Notification(Model):
    """A channel by which people are told: either slack or email."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [rule("has(self.slack) != has(self.email)", "name exactly one of slack and email")]}
    )

    slack: Slack | None = Field(default=None, description="Tell a Slack channel.")
    email: EmailTo | None = Field(default=None, description="Send mail.")
    when: list[NotifyWhen] = Field(
        default_factory=lambda: [NotifyWhen.FAILED], min_length=1, max_length=1, description="When: Failed (every run that failed)."
    )

    @model_validator(mode="after")
    def _one_channel(self) -> Self:
        if (self.slack is None) == (self.email is None):
            raise ValueError("name exactly one of slack and email")
        return self


class Freshness(Model):
    """How old the data may become."""

    max_staleness: Duration = Field(
        description="Longest time since the end of the last successful run; beyond it the condition DataFresh is False, reason Stale."
    )


class History(Model):
    """What is kept of past runs in the warehouse."""

    retention_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days that dbt_refresh_run and its steps, nodes and marts keep a run of this refresh; dbt_refresh_log keeps them all.",
    )


class ComputeResources(Model):
    """Amounts of CPU, memory and local disk."""

    cpu: Quantity | None = Field(default=None, description="Processors, for example 250m or 2.")
    memory: Quantity | None = Field(default=None, description="Memory, for example 512Mi.")
    ephemeral_storage: Quantity | None = Field(default=None, alias="ephemeral-storage", description="Local disk, for example 10Gi.")


def _within(field: str) -> dict[str, JsonValue]:
    """CEL: a request may not exceed its limit, or every pod of the refresh would be refused. CEL writes a dash as __dash__."""
    request, limit = (f"self.{side}.{field.replace('-', '__dash__')}" for side in ("requests", "limits"))
    return rule(
        f"!has({request}) || !has({limit}) || quantity(string({request})).compareTo(quantity(string({limit}))) <= 0",
        f"requests.{field} must not exceed limits.{field}",
    )


class Resources(Model):
    """What a run's pod asks for and may use."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [_within(field) for field in ("cpu", "memory", "ephemeral-storage")]}
    )

    requests: ComputeResources = Field(default=ComputeResources(cpu="250m", memory="512Mi"), description="What the pod is guaranteed.")
    limits: ComputeResources = Field(
        default=ComputeResources(cpu="2", memory="4Gi", **{"ephemeral-storage": "10Gi"}), description="What the pod may use at most."
    )

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        for name, field in ComputeResources.model_fields.items():
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if request is not None and limit is not None and quantity(request) > quantity(limit):
                raise ValueError(f"requests.{field.alias or name} must not exceed limits.{field.alias or name}")
        return self


class RefreshSpec(Model):
    """What to refresh and when."""

    title: str | None = Field(
        default=None, min_length=1, max_length=80, description="Opens the notes in dbt_refresh_log; the refresh's name unless given."
    )
    schedule: CronLine = Field(
        description='When runs start: a cron line of five fields, as in a CronJob, for example "30 2,5,8 * * *".',
    )
    time_zone: TimeZone = Field(
        default="Etc/UTC",
        description="Zone of the schedule, by its IANA name, for example Europe/Paris.",
    )
    suspend: bool = Field(default=False, description="No scheduled runs while true; a run under way goes on, requested runs still start.")
    warehouse: Warehouse = Field(description="The database.")
    lock: Lock = Field(default=Lock(), description="How runs on the same warehouse exclude each other.")
    dbt: Dbt = Field(default=Dbt(), description="How dbt is called.")
    layers: list[Layer] = Field(
        min_length=1, max_length=20, json_schema_extra=_map_list("name"), description="The models to build, step by step, in this order."
    )
    sources: Sources | None = Field(
        default=None, description="Whether to ask first how old the sources are that the layers read; not asked unless given."
    )
    tests: Tests | None = Field(default=None, description="The tests to run after the layers; none unless given.")
    validation: Validation | None = Field(default=None, description="The marts to validate after the tests; none unless given.")
    publish: Publish = Field(
        default=Publish.SWAP,
        description="Swap: the marts of `validation` that are tables are built beside the live ones, tested and validated there, and then "
        "made live all at once; a run that fails leaves the live ones as they were. Direct: each is live as soon as it is built.",
    )
    cache: Cache | None = Field(default=None, description="The API to call after the validation; none unless given.")
    notifications: list[Notification] = Field(default_factory=list, max_length=10, description="Who is told of failed runs.")
    freshness: Freshness | None = Field(
        default=None, description="How old the data may become, watched by the clock; not at all unless given."
    )
    history: History = Field(default=History(), description="What is kept of past runs in the warehouse.")
    timeout: Duration = Field(default="15m", description="Longest duration of one attempt (one pod).")
    retries: int = Field(default=2, ge=0, le=10, description="Further attempts after a failed one, where the error is one that can pass.")
    start_timeout: Duration = Field(
        default="5m", description="Longest wait for a run's pod to start; after it the run is given up, with the reason."
    )
    resources: Resources = Field(default=Resources(), description="What a run's pod asks for and may use.")
    pod_template: PodTemplate | None = Field(
        default=None, description="Additions to the runs' pods, as in a pod: where they go, proxies, registries; merged by container name."
    )

    @property
    def secret_keys(self) -> dict[str, set[str] | None]:
        """The Secrets that a run reads, by name, and which of their keys; None for all."""
        keys: dict[str, set[str] | None] = {self.warehouse.secret_ref.name: None}
        single = [self.cache.authorization_secret_ref] if self.cache and self.cache.authorization_secret_ref else []
        for notification in self.notifications:
            if notification.email:
                keys[notification.email.smtp_secret_ref.name] = None
            if notification.slack:
                single.append(notification.slack.webhook_secret_ref)
        for ref in single:
            known = keys.get(ref.name, set())
            keys[ref.name] = None if known is None else known | {ref.key}
        return keys

    @property
    def step_names(self) -> list[str]:
        """Names of the steps that a run has, in order."""
        own = {"tests": self.tests, "validation": self.validation, "cache": self.cache}
        first = ["sources"] if self.sources else []
        return [*first, *(layer.name for layer in self.layers), *(name for name, wanted in own.items() if wanted)]

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        doubled = [name for name, count in Counter(layer.name for layer in self.layers).items() if count > 1]
        if doubled:
            raise ValueError(f"layers: the name {doubled[0]!r} is used twice")
        taken = [layer.name for layer in self.layers if layer.name in OWN_STEPS]
        if taken:
            raise ValueError(f"layers: the name {taken[0]!r} belongs to a step of its own; choose another")
        relations = Counter(mart.relation for mart in self.validation.marts) if self.validation else Counter()
        twice = [relation for relation, count in relations.items() if count > 1]
        if twice:
            raise ValueError(f"validation.marts: {twice[0]!r} is listed twice")
        return self
