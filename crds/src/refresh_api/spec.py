"""The spec of a DashboardRefresh, with its defaults, limits and the descriptions that `kubectl explain` prints."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from refresh_api import preview_settings
from refresh_api.artifacts import Artifacts
from refresh_api.channels import ChannelSecret
from refresh_api.cron_line import CronLine
from refresh_api.fields import Identifier, Image, Moment, NamespaceName, ObjectName, TimeZone, Title, map_list
from refresh_api.freeform import LEVELS, bounded
from refresh_api.lineage import Lineage
from refresh_api.model import SpecModel
from refresh_api.names import RUN_REQUEST_LENGTH
from refresh_api.notifications import NO_LIMIT_RULE, NO_LIMIT_SAYS, Notification, NotifyWhen
from refresh_api.pod_template import PodTemplate
from refresh_api.project import Project
from refresh_api.resources import Resources
from refresh_api.steps import OWN_STEPS, Cache, Layer, Sources, Tests, Validation
from refresh_api.tracing import Tracing
from refresh_api.values import Duration
from refresh_api.warehouse import Warehouse


class Publish(StrEnum):
    """When readers see new marts."""

    SWAP = "Swap"
    DIRECT = "Direct"


class Vacuum(StrEnum):
    """When a publish vacuums the marts that it changed row by row."""

    AUTO = "Auto"
    IMMEDIATE = "Immediate"
    DEFERRED = "Deferred"


class UnchangedPolicy(StrEnum):
    """What a scheduled run does when nothing has changed since the last one."""

    RUN = "Run"
    SKIP = "Skip"
    REUSE = "Reuse"


DEFAULT_WAIT: Final = "5m"
"""Default of `lock.waitTimeout`."""


class LockPolicy(StrEnum):
    """What a run does while another run holds the warehouse lock."""

    WAIT = "Wait"
    SKIP = "Skip"
    FAIL = "Fail"


class Lock(SpecModel):
    """How runs on the same warehouse exclude each other."""

    policy: LockPolicy = Field(
        default=LockPolicy.WAIT,
        description="What a run does while another run holds the warehouse lock. Wait: waits up to waitTimeout, then is skipped. "
        "Skip: is skipped. Fail: fails. Defaults to Wait.",
    )
    wait_timeout: Duration = Field(
        default=DEFAULT_WAIT, description="Maximum time that a run with policy Wait waits for the lock. Defaults to 5m."
    )


class Dbt(SpecModel):
    """Settings of dbt."""

    threads: int = Field(default=8, ge=1, le=64, description="Number of models that dbt builds concurrently. Defaults to 8.")
    target: Identifier = Field(default="prod", description="Name of the dbt target, which models read as target.name. Defaults to prod.")
    target_schema: Identifier = Field(
        default="dwh",
        alias="schema",
        description="Schema of models without a custom schema; dbt's target.schema. For models with a custom schema, the project's "
        "generate_schema_name decides. Defaults to dwh.",
    )
    vars: Annotated[dict[str, JsonValue], BeforeValidator(bounded)] = Field(
        default_factory=dict,
        max_length=64,
        description="dbt variables. `as_of` (YYYY-MM-DD) defaults to the run's date in timeZone. "
        f"Lists and objects may be nested at most {LEVELS} levels deep; the whole spec may have at most {RUN_REQUEST_LENGTH} bytes.",
    )


class Freshness(SpecModel):
    """How old the data may become."""

    max_staleness: Duration = Field(
        description="Maximum time since the end of the last successful run. After it the condition DataFresh is False with reason Stale."
    )


class Dependency(SpecModel):
    """Another refresh whose data the layers read."""

    name: ObjectName = Field(description="Name of a refresh on the same warehouse. Each name can be listed once.")
    namespace: NamespaceName | None = Field(
        default=None,
        description="Namespace of that refresh. dependencies.allowedNamespaces of the operator's chart must allow it. "
        "Defaults to the namespace of this refresh.",
    )
    within: Duration = Field(default="1h", description="Maximum time since the end of its last successful run. Defaults to 1h.")


class History(SpecModel):
    """How long the run log in the warehouse keeps past runs."""

    retention_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days after which a run and its steps, nodes and marts are deleted from the run log. dbt_refresh_log keeps all runs. "
        "Defaults to 90.",
    )


class RefreshSpec(SpecModel):
    """What to refresh and when."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*preview_settings.RULES, NO_LIMIT_RULE]})

    display_name: Title | None = Field(
        default=None, description="Name for people, on the page and in the notes of dbt_refresh_log. Defaults to the name of the resource."
    )
    schedule: CronLine = Field(
        description='Schedule in cron format with five fields, as in a CronJob, for example "30 2,5,8 * * *". H stands for a minute or '
        "an hour that differs between resources and always stays the same for one of them, so that not all runs start at once, for "
        'example "H 6 * * *" or "H/10 * * * *".',
    )
    time_zone: TimeZone = Field(
        default="Etc/UTC",
        description="Time zone of the schedule, by its IANA name, for example Europe/Paris. Defaults to Etc/UTC.",
    )
    suspend: bool = Field(
        default=False, description="Suspends scheduled runs. An active run continues, and requested runs still start. Defaults to false."
    )
    suspend_until: Moment | None = Field(
        default=None,
        description="Suspends scheduled runs until this time, for example 2026-12-24T18:00:00Z. Requested runs still start.",
    )
    suspend_after_failures: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Suspends scheduled runs after this many consecutive scheduled runs have failed, until a requested run succeeds or the "
        "annotation dashboards.sigeti.io/resetAt gets a new value. Defaults to never.",
    )
    depends_on: list[Dependency] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=map_list("name"),
        description="Refreshes whose data the layers read. A scheduled run is skipped unless each of them has succeeded within `within`.",
    )
    warehouse: Warehouse = Field(description="Warehouse in which dbt builds.")
    lock: Lock = Field(default=Lock(), description="How runs on the same warehouse exclude each other.")
    image: Image | None = Field(
        default=None,
        description="Image of the runner with the dbt project of this refresh. runner.allowedImages of the operator's chart must allow it. "
        "Defaults to the image of the chart.",
    )
    project: Project | None = Field(default=None, description="Where the dbt project comes from. Defaults to the project in the image.")
    dbt: Dbt = Field(default=Dbt(), description="Settings of dbt.")
    layers: list[Layer] = Field(
        min_length=1, max_length=20, json_schema_extra=map_list("name"), description="Steps in which dbt builds models, in this order."
    )
    sources: Sources | None = Field(
        default=None, description="Checks the freshness of the layers' sources before the first layer. Defaults to no check."
    )
    tests: Tests | None = Field(default=None, description="dbt tests to run after the layers. Defaults to no tests.")
    validation: Validation | None = Field(default=None, description="Marts to validate after the tests. Defaults to no validation.")
    publish: Publish = Field(
        default=Publish.SWAP,
        description="When readers see new marts. Swap: the tables of validation.marts are built in staging schemas, tested and validated "
        "there, and published in one transaction; a failed run leaves the live marts unchanged. Direct: each mart is live as soon as "
        "dbt has built it. Defaults to Swap.",
    )
    vacuum: Vacuum = Field(
        default=Vacuum.AUTO,
        description="When marts that were updated row by row are vacuumed. Immediate: after each publish. Deferred: before the next "
        "publish, and dead rows are kept until the run ends, so that queries on a standby are not cancelled. Auto: Deferred while a "
        "standby without hot_standby_feedback streams from the warehouse, otherwise Immediate. Defaults to Auto.",
    )
    unchanged_policy: UnchangedPolicy = Field(
        default=UnchangedPolicy.RUN,
        description="What a scheduled run does if none of these has changed since the last run: the rows of the sources, the models of "
        "other refreshes, the dbt project, the spec, the date. Run: builds everything. Skip: leaves the marts unchanged and "
        "succeeds with reason NothingChanged. Reuse: decides for each model, seed and test, in every run, and leaves out those "
        "whose SQL, settings and inputs provably have not changed, nor their result. If that is unknown, it is built. A scheduled run that "
        "leaves out all of them ends like with Skip. Defaults to Run.",
    )
    cache: Cache | None = Field(default=None, description="API to call after the marts are published. Defaults to no call.")
    notifications: list[Notification] = Field(default_factory=list, max_length=10, description="Channels that are notified of runs.")
    lineage: Lineage | None = Field(
        default=None, description="Server that receives OpenLineage events about the runs. Defaults to no events."
    )
    tracing: Tracing | None = Field(
        default=None,
        description="Credentials for traces of runs, which OpenTelemetry's variables in podTemplate switch on. Defaults to none.",
    )
    artifacts: Artifacts | None = Field(
        default=None, description="Where the files of runs are kept beside the warehouse. Defaults to nowhere else."
    )
    freshness: Freshness | None = Field(default=None, description="Maximum age of the data. Defaults to no limit.")
    history: History = Field(default=History(), description="How long the run log keeps past runs.")
    timeout: Duration = Field(default="15m", description="Maximum duration of one attempt (one pod). Defaults to 15m.")
    retries: int = Field(
        default=2, ge=0, le=10, description="Number of further attempts after one has failed with a transient error. Defaults to 2."
    )
    start_timeout: Duration = Field(
        default="5m", description="Maximum time for a run's pod to start. After it the run fails. Defaults to 5m."
    )
    resources: Resources = Field(default=Resources(), description="Compute resources of a run's pod.")
    pod_template: PodTemplate | None = Field(
        default=None,
        description="Additions to the pods of runs: scheduling, environment variables, image pull secrets. Containers are merged by name.",
    )
    preview: preview_settings.PreviewSettings | None = Field(
        default=None,
        description="Allows previews of this refresh, which a RefreshPreview requests. They run code that nobody has reviewed yet, so they "
        "connect to the warehouse by a Secret of their own. Requires project. Defaults to no previews.",
    )

    @property
    def secret_keys(self) -> dict[str, set[str] | None]:
        """The Secrets that a run reads, by name, with the keys that it reads; None for all keys."""
        keys: dict[str, set[str] | None] = {self.warehouse.secret_ref.name: None}
        keys |= {secret.name: None for secret in self._channel_secrets if secret.reads_all_keys}
        keys |= {name: None for name in [self.project_secret, self.store_secret] if name}
        for name, key in self.single_keys:
            known = keys.get(name, set())
            keys[name] = None if known is None else known | {key}
        return keys

    @property
    def run_secret_keys(self) -> dict[str, set[str] | None]:
        """The same for the container of the run only: without the Secret of the project's repository."""
        return self.model_copy(update={"project": None}).secret_keys

    @property
    def project_secret(self) -> str | None:
        """Name of the Secret with the credentials of the project's repository. Only the container that fetches the project reads it."""
        reference = self.project.origin.secret_ref if self.project else None
        return reference.name if reference else None

    @property
    def store_secret(self) -> str | None:
        """Name of the Secret with the credentials of the store of files."""
        return self.artifacts.store.s3.secret_ref.name if self.artifacts else None

    @property
    def single_keys(self) -> list[tuple[str, str]]:
        """Pairs of Secret and key, of Secrets from which a run reads only one key."""
        called = [each.authorization_secret_ref for each in (self.cache, self.lineage) if each]
        called.append(self.tracing.headers_secret_ref if self.tracing else None)
        own = [(reference.name, reference.key) for reference in called if reference]
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
    def _previews_apart(self) -> Self:
        if self.preview:
            called = [each.authorization_secret_ref if each else None for each in (self.cache, self.lineage)]
            called.append(self.tracing.headers_secret_ref if self.tracing else None)
            names = [self.warehouse.secret_ref.name, self.project_secret, *(each.name if each else None for each in called)]
            names.append(self.store_secret)
            preview_settings.check(self.preview, bool(self.project and self.project.git), *names)
        return self

    @model_validator(mode="after")
    def _stale_by_a_limit(self) -> Self:
        if self.freshness is None and any(NotifyWhen.STALE in each.when for each in self.notifications):
            raise ValueError(NO_LIMIT_SAYS)
        return self

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        taken = [layer.name for layer in self.layers if layer.name in OWN_STEPS]
        if taken:
            raise ValueError(f"layers: the name {taken[0]!r} is the name of another step; choose another one")
        return self
