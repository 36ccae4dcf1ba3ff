"""What a run will do, in order: made from the run request alone, before anything is touched."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from pydantic import JsonValue

from refresh_api.fields import SecretKeyRef
from refresh_api.run_request import ModeKind, RunMode, RunRequest
from refresh_api.spec import OnHeld, OnUnchanged, Publish, RefreshSpec, Vacuum
from refresh_api.steps import CacheVersion, Mart, Newest, OnFailure, OnStale
from refresh_api.values import duration, share
from refresh_runner.model.scheduled_time import scheduled_time_of


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


@dataclass(frozen=True)
class LockOptions:
    """What to do when another run holds the warehouse."""

    on_held: OnHeld
    wait: timedelta


@dataclass(frozen=True)
class DbtSettings:
    """How dbt is called."""

    threads: int
    target: str
    schema: str
    variables: Mapping[str, JsonValue]
    full_refresh: bool = False
    """Whether incremental models are built anew."""


@dataclass(frozen=True)
class Attempt:
    """Which try of which run this is."""

    run_id: str
    number: int = 1
    of: int = 1
    pod: str | None = None

    @property
    def is_last(self) -> bool:
        """No further attempt follows."""
        return self.number >= self.of


@dataclass(frozen=True)
class Plan:
    """The ordered things to do in one attempt."""

    run_request: RunRequest
    attempt: Attempt
    steps: tuple[Step, ...]
    timeout: timedelta
    lock: LockOptions
    dbt: DbtSettings
    publish: Publish
    mode: RunMode
    vacuum: Vacuum = Vacuum.AUTO

    @property
    def skipped_steps(self) -> dict[str, str]:
        """The steps that the run's mode leaves out, by name, with the reason."""
        names = [step.name for step in self.steps]
        match self.mode.kind:
            case ModeKind.FROM:
                out = names[: names.index(self.mode.of)]
            case ModeKind.ONLY:
                out = [name for name in names if name != self.mode.of]
            case ModeKind.ROLLBACK:
                out = [step.name for step in self.steps if isinstance(step, SourcesStep | LayerStep | TestsStep)]
            case _:
                out = []
        return dict.fromkeys(out, f"left out by the run's mode {self.mode}")

    @property
    def model_selector(self) -> Selection | None:
        """Which of the layers' models the run builds; None for all."""
        return Selection(tuple(self.mode.of.split())) if self.mode.kind is ModeKind.SELECT else None

    @property
    def needs_dbt(self) -> bool:
        """Whether anything in the run is asked of the dbt project."""
        asking = [step for step in self.steps if not isinstance(step, ValidationStep | CacheStep)]
        exposures = [step for step in self.steps if isinstance(step, CacheStep) and step.from_exposures]
        return any(step.name not in self.skipped_steps for step in (*asking, *exposures))

    @property
    def publishes(self) -> bool:
        """Whether the run builds marts and says of them that they are live."""
        built = any(isinstance(step, LayerStep) and step.name not in self.skipped_steps for step in self.steps)
        return built and any(isinstance(step, ValidationStep) and step.name not in self.skipped_steps for step in self.steps)

    @property
    def keeps_inputs(self) -> bool:
        """Whether later runs of the refresh may ask what this one was made of."""
        return self.mode.kind is ModeKind.REFRESH and self.run_request.spec.on_unchanged is OnUnchanged.SKIP

    @property
    def may_skip_unchanged(self) -> bool:
        """Whether the run may leave things as they are where nothing has changed: nobody asked for it."""
        return self.keeps_inputs and scheduled_time_of(self.attempt.run_id) is not None

    @property
    def marts(self) -> tuple[MartCheck, ...]:
        """The marts that the run answers for."""
        return tuple(mart for step in self.steps if isinstance(step, ValidationStep) for mart in step.marts)

    @property
    def mart_count(self) -> int:
        """How many marts the run looks at; none where its mode leaves the validation out."""
        return sum(len(step.marts) for step in self.steps if isinstance(step, ValidationStep) and step.name not in self.skipped_steps)

    def label(self, name: str) -> str:
        """Return a step as people count it, for example `3/6 marts`."""
        number = next(number for number, step in enumerate(self.steps, 1) if step.name == name)
        return f"{number}/{len(self.steps)} {name}"


def plan_for(run_request: RunRequest, attempt: Attempt, today: date, base_url: str | None = None) -> Plan:
    """Return the plan of a run request.

    `today` is the run's date in the schedule's zone; `base_url`, where given, goes before that of the run request.
    Raises ValueError if the run request's mode names a step that the refresh does not have.
    """
    spec, mode = run_request.spec, RunMode.parse(run_request.mode)
    mode.check(spec.step_names)
    variables: dict[str, JsonValue] = {"as_of": today.isoformat(), **spec.dbt.vars, **run_request.vars}
    return Plan(
        run_request=run_request,
        attempt=attempt,
        steps=(*_sources(spec), *_layers(spec), *_tests(spec), *_validation(spec, _as_of(variables, today)), *_cache(spec, base_url)),
        timeout=duration(spec.timeout),
        lock=LockOptions(spec.lock.on_held, duration(spec.lock.wait)),
        dbt=DbtSettings(
            threads=spec.dbt.threads,
            target=spec.dbt.target,
            schema=spec.dbt.target_schema,
            variables=variables,
            full_refresh=mode.kind is ModeKind.FULL_REFRESH,
        ),
        publish=spec.publish,
        mode=mode,
        vacuum=spec.vacuum,
    )


def _sources(spec: RefreshSpec) -> list[SourcesStep]:
    return [SourcesStep(spec.sources.on_stale, duration(spec.sources.timeout))] if spec.sources else []


def _layers(spec: RefreshSpec) -> list[LayerStep]:
    return [
        LayerStep(layer.name, Selection(tuple(layer.select), tuple(layer.exclude)), duration(layer.timeout), layer.retries)
        for layer in spec.layers
    ]


def _tests(spec: RefreshSpec) -> list[TestsStep]:
    tests = spec.tests
    if tests is None:
        return []
    selection = Selection(tuple(tests.select), tuple(tests.exclude))
    return [TestsStep(selection, duration(tests.timeout), tests.retries, tests.on_failure, tests.sample_rows)]


def _as_of(variables: Mapping[str, JsonValue], today: date) -> date:
    try:
        return date.fromisoformat(str(variables["as_of"]))
    except ValueError:
        # dbt says what is wrong with it, when it reads the project.
        return today


def _validation(spec: RefreshSpec, as_of: date) -> list[ValidationStep]:
    validation = spec.validation
    if validation is None:
        return []
    return [ValidationStep(tuple(_mart(mart, validation.max_null_share, spec.time_zone) for mart in validation.marts), as_of)]


def _mart(mart: Mart, max_null_share: str, time_zone: str) -> MartCheck:
    schema, _, table = mart.relation.partition(".")
    return MartCheck(
        schema=schema,
        table=table,
        keys=tuple(mart.keys),
        max_null_share=share(mart.max_null_share or max_null_share),
        unique=tuple(mart.unique),
        newest=mart.newest,
        time_zone=time_zone,
        max_row_change=share(mart.max_row_change) if mart.max_row_change else None,
        min_rows=mart.min_rows,
    )


def _cache(spec: RefreshSpec, base_url: str | None) -> list[CacheStep]:
    cache = spec.cache
    if cache is None:
        return []
    return [
        CacheStep(
            base_url=(base_url or cache.base_url).rstrip("/"),
            endpoints=tuple(cache.endpoints),
            timeout=duration(cache.timeout),
            version=cache.version,
            authorization=cache.authorization_secret_ref,
            from_exposures=cache.from_exposures,
            wait_for_replicas=duration(cache.wait_for_replicas) if cache.wait_for_replicas else None,
        )
    ]
