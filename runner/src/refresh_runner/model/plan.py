"""The plan of an attempt: its steps in order, made from the run request before anything is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from pydantic import JsonValue

from refresh_api.run_request import ModeKind, RunMode, RunRequest
from refresh_api.scheduled_time import scheduled_time_of
from refresh_api.spec import LockPolicy, Publish, RefreshSpec, Vacuum
from refresh_api.steps import Mart, TestReuse
from refresh_api.values import duration, share
from refresh_runner.model.mode_policy import ModePolicy
from refresh_runner.model.steps import CacheStep, LayerStep, MartCheck, Selection, SourcesStep, Step, TestsStep, ValidationStep


@dataclass(frozen=True)
class LockOptions:
    """What to do when another run holds the warehouse."""

    policy: LockPolicy
    wait_timeout: timedelta


@dataclass(frozen=True)
class DbtSettings:
    """Options of dbt."""

    threads: int
    target: str
    schema: str
    variables: Mapping[str, JsonValue]
    full_refresh: bool = False
    """Whether incremental models are rebuilt."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of a run."""

    run_id: str
    number: int = 1
    of: int = 1
    pod: str | None = None

    @property
    def is_last(self) -> bool:
        """Whether no further attempt follows."""
        return self.number >= self.of


@dataclass(frozen=True)
class Plan:
    """The plan of one attempt."""

    run_request: RunRequest
    attempt: Attempt
    steps: tuple[Step, ...]
    timeout: timedelta
    lock: LockOptions
    dbt: DbtSettings
    publish: Publish
    mode: RunMode
    vacuum: Vacuum = Vacuum.AUTO

    @cached_property
    def policy(self) -> ModePolicy:
        """The effects of the run's mode."""
        is_scheduled = scheduled_time_of(self.attempt.run_id) is not None
        return ModePolicy(self.mode, self.steps, self.run_request.spec.unchanged_policy, is_scheduled)

    @property
    def layers(self) -> tuple[LayerStep, ...]:
        """The steps in which dbt builds models."""
        return tuple(step for step in self.steps if isinstance(step, LayerStep))

    @property
    def marts(self) -> tuple[MartCheck, ...]:
        """The marts that the refresh validates and publishes."""
        return tuple(mart for step in self.steps if isinstance(step, ValidationStep) for mart in step.marts)

    @property
    def mart_count(self) -> int:
        """Number of marts that the run validates; 0 if its mode skips the validation."""
        return sum(
            len(step.marts) for step in self.steps if isinstance(step, ValidationStep) and step.name not in self.policy.skipped_steps
        )

    def label(self, name: str) -> str:
        """Return the label of a step, such as `3/6 marts`."""
        number = next(number for number, step in enumerate(self.steps, 1) if step.name == name)
        return f"{number}/{len(self.steps)} {name}"


def plan_for(run_request: RunRequest, attempt: Attempt, today: date, base_url: str | None = None) -> Plan:
    """Return the plan of a run request.

    `today` is the run's date in the schedule's time zone. `base_url` overrides that of the run request. Raise ValueError if the mode names
    a step that the refresh does not have.
    """
    spec, mode = run_request.spec, RunMode.parse(run_request.mode)
    mode.check(spec.step_names)
    variables: dict[str, JsonValue] = {"as_of": today.isoformat(), **spec.dbt.vars, **run_request.vars}
    return Plan(
        run_request=run_request,
        attempt=attempt,
        steps=(*_sources(spec), *_layers(spec), *_tests(spec), *_validation(spec, _as_of(variables, today)), *_cache(spec, base_url)),
        timeout=duration(spec.timeout),
        lock=LockOptions(spec.lock.policy, duration(spec.lock.wait_timeout)),
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
    return [SourcesStep(spec.sources.stale_policy, duration(spec.sources.timeout))] if spec.sources else []


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
    return [
        TestsStep(
            selection, duration(tests.timeout), tests.retries, tests.failure_policy, tests.failed_rows_limit, tests.reuse is TestReuse.AUTO
        )
    ]


def _as_of(variables: Mapping[str, JsonValue], today: date) -> date:
    try:
        return date.fromisoformat(str(variables["as_of"]))
    except ValueError:
        # dbt reports an invalid date when it parses the project.
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
        key_columns=tuple(mart.key_columns),
        max_null_share=share(mart.max_null_share or max_null_share),
        unique_key=tuple(mart.unique_key),
        recency=mart.recency,
        time_zone=time_zone,
        max_row_count_change=share(mart.max_row_count_change) if mart.max_row_count_change else None,
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
