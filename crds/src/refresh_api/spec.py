"""What users write: the spec of a DashboardRefresh, with its defaults, bounds and the texts that `kubectl explain` prints."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from refresh_api.cron_line import CronLine
from refresh_api.fields import Identifier, Moment, ObjectName, SecretRef, TimeZone, Title, map_list
from refresh_api.freeform import LEVELS, bounded
from refresh_api.model import SpecModel
from refresh_api.names import RUN_REQUEST_LENGTH
from refresh_api.notifications import ChannelSecret, Notification
from refresh_api.pod_template import PodTemplate
from refresh_api.steps import OWN_STEPS, Cache, Layer, Sources, Tests, Validation
from refresh_api.values import Duration, Quantity, quantity, rule


class Publish(StrEnum):
    """When readers see new marts."""

    SWAP = "Swap"
    DIRECT = "Direct"


class Vacuum(StrEnum):
    """When the rows that a publish has replaced are removed from the marts."""

    AUTO = "Auto"
    IMMEDIATE = "Immediate"
    DEFERRED = "Deferred"


class UnchangedPolicy(StrEnum):
    """What a scheduled run does when nothing has changed."""

    RUN = "Run"
    SKIP = "Skip"


class LockPolicy(StrEnum):
    """What a run does when another one holds the warehouse."""

    WAIT = "Wait"
    SKIP = "Skip"
    FAIL = "Fail"


class Warehouse(SpecModel):
    """The PostgreSQL database that dbt builds."""

    secret_ref: SecretRef = Field(
        description="Secret with the connection: host, dbname, user and password; "
        "optional are port (5432), sslmode (prefer) and sslrootcert (PEM, a path, or system)."
    )


class Lock(SpecModel):
    """How runs on the same warehouse exclude each other."""

    policy: LockPolicy = Field(
        default=LockPolicy.WAIT,
        description="When another run holds the warehouse: Wait up to `wait` and then skip this run, Skip it at once, or Fail it at once.",
    )
    wait_timeout: Duration = Field(default="5m", description="How long a run with policy: Wait waits for the warehouse.")


class Dbt(SpecModel):
    """How dbt is called."""

    threads: int = Field(default=8, ge=1, le=64, description="Models that dbt builds at the same time.")
    target: Identifier = Field(default="prod", description="Name of dbt's target, visible to models as target.name.")
    target_schema: Identifier = Field(
        default="dwh",
        alias="schema",
        description="Schema of models that name none. Those that name one stand where the project's generate_schema_name puts them: "
        "in dbt's own way SCHEMA_name, in the image's project the name as it is written.",
    )
    vars: Annotated[dict[str, JsonValue], BeforeValidator(bounded)] = Field(
        default_factory=dict,
        max_length=64,
        description="dbt variables. `as_of` (a date, YYYY-MM-DD) is the run's date in timeZone unless it is given here. "
        f"At most {LEVELS} levels of lists and objects; with all else of the spec, {RUN_REQUEST_LENGTH} bytes.",
    )


class Freshness(SpecModel):
    """How old the data may become."""

    max_staleness: Duration = Field(
        description="Longest time since the end of the last successful run; beyond it the condition DataFresh is False, reason Stale."
    )


class Dependency(SpecModel):
    """Another refresh whose data the layers read."""

    name: ObjectName = Field(description="Name of a refresh in the same namespace, on the same warehouse.")
    within: Duration = Field(default="1h", description="Maximum time since the end of its last successful run. Defaults to 1h.")


class History(SpecModel):
    """What is kept of past runs in the warehouse."""

    retention_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days that dbt_refresh_run and its steps, nodes and marts keep a run of this refresh; dbt_refresh_log keeps them all.",
    )


class ComputeResources(SpecModel):
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


class Resources(SpecModel):
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


class RefreshSpec(SpecModel):
    """What to refresh and when."""

    display_name: Title | None = Field(default=None, description="Opens the notes in dbt_refresh_log. Defaults to the refresh's name.")
    schedule: CronLine = Field(
        description='When runs start: a cron line of five fields, as in a CronJob, for example "30 2,5,8 * * *".',
    )
    time_zone: TimeZone = Field(
        default="Etc/UTC",
        description="Zone of the schedule, by its IANA name, for example Europe/Paris.",
    )
    suspend: bool = Field(default=False, description="No scheduled runs while true; a run under way goes on, requested runs still start.")
    suspend_until: Moment | None = Field(
        default=None,
        description="No scheduled runs until this moment, like 2026-12-24T18:00:00Z; then they go on by themselves. Requested runs still "
        "start.",
    )
    suspend_after_failures: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="No scheduled runs any more after so many failed ones in a row, until a requested run succeeds, or the annotation "
        "dashboards.sigeti.io/resetAt gets a new value; without end unless given.",
    )
    depends_on: list[Dependency] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=map_list("name"),
        description="Refreshes whose data the layers read. A scheduled run is skipped unless each has succeeded within its time.",
    )
    warehouse: Warehouse = Field(description="The database.")
    lock: Lock = Field(default=Lock(), description="How runs on the same warehouse exclude each other.")
    dbt: Dbt = Field(default=Dbt(), description="How dbt is called.")
    layers: list[Layer] = Field(
        min_length=1, max_length=20, json_schema_extra=map_list("name"), description="The models to build, step by step, in this order."
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
    vacuum: Vacuum = Field(
        default=Vacuum.AUTO,
        description="When marts that were changed row by row are vacuumed. Immediate: after each publish. Deferred: before the next one, "
        "and nothing that dies during a run is removed before its end, so that queries on a standby that still need it are not cancelled. "
        "Auto: Deferred while a standby without hot_standby_feedback streams from the warehouse, else Immediate.",
    )
    unchanged_policy: UnchangedPolicy = Field(
        default=UnchangedPolicy.RUN,
        description="When a scheduled run finds that nothing has changed since the run before: neither the sources' lines, nor what other "
        "refreshes build, nor the dbt project, the spec or the day. Run: everything is built all the same. Skip: the marts stay as they "
        "are, which counts as a success (NothingChanged). Whatever can't be shown counts as changed.",
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
        keys |= {secret.name: None for secret in self._channel_secrets if secret.reads_all_keys}
        for name, key in self.single_keys:
            known = keys.get(name, set())
            keys[name] = None if known is None else known | {key}
        return keys

    @property
    def single_keys(self) -> list[tuple[str, str]]:
        """Name and key of the Secrets of which a run reads one key only."""
        authorization = self.cache.authorization_secret_ref if self.cache else None
        own = [(authorization.name, authorization.key)] if authorization else []
        return own + [(secret.name, key) for secret in self._channel_secrets if not secret.reads_all_keys for key in secret.keys]

    @property
    def _channel_secrets(self) -> list[ChannelSecret]:
        return [each.channel.secret for each in self.notifications]

    @property
    def step_names(self) -> list[str]:
        """Names of the steps that a run has, in order."""
        own = {"tests": self.tests, "validation": self.validation, "cache": self.cache}
        first = ["sources"] if self.sources else []
        return [*first, *(layer.name for layer in self.layers), *(name for name, wanted in own.items() if wanted)]

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        taken = [layer.name for layer in self.layers if layer.name in OWN_STEPS]
        if taken:
            raise ValueError(f"layers: the name {taken[0]!r} belongs to a step of its own; choose another")
        return self
