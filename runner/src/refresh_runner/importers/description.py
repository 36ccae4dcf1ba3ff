"""What a reader has understood of a source: one frozen description, whatever the source is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, StrEnum

from pydantic import JsonValue


class UnreadableError(ValueError):
    """A source from which no refresh can be made. The message says what is wrong, where, and what to do."""


class Verb(StrEnum):
    """A dbt command that has a counterpart."""

    BUILD = "build"
    RUN = "run"
    TEST = "test"
    SEED = "seed"
    SNAPSHOT = "snapshot"
    FRESHNESS = "source freshness"


class TestKind(Enum):
    """Kinds of tests, as dbt names them."""

    __test__ = False
    ALL = "all"
    DATA = "test"
    UNIT = "unit_test"
    NONE = "none"


@dataclass(frozen=True)
class Note:
    """Something that a refresh cannot say, or that only a person can decide."""

    place: str
    """Where it is in the source: `line 12`, `spec.suspend`; empty for what is not in the source."""
    text: str
    decide: bool = False
    """Whether the refresh does not do what the source did until somebody has decided it."""


@dataclass(frozen=True)
class DbtCommand:
    """A dbt command of the source."""

    verb: Verb
    place: str
    select: tuple[str, ...] = ()
    """Empty for the whole project."""
    exclude: tuple[str, ...] = ()
    variables: Mapping[str, JsonValue] = field(default_factory=dict)
    target: str | None = None
    threads: int | None = None
    folder: str | None = None
    """Folder of the dbt project."""
    tolerated: bool = False
    """Whether the source goes on, or succeeds, after the command has failed."""
    tests: TestKind = TestKind.ALL
    """Which tests a build or test runs."""
    label: str = ""
    """Name of the task that runs it."""
    timeout: timedelta | None = None
    retries: int | None = None


@dataclass(frozen=True)
class GitProject:
    """The repository of the dbt project."""

    url: str
    ref: str | None = None
    """A branch, tag or commit; None for the default branch."""
    path: str = "."
    secret: str | None = None
    """Name of a Secret with the keys that `spec.project.git.secretRef` reads."""


@dataclass(frozen=True)
class Description:
    """A schedule with its dbt commands."""

    source: str
    """What it was: `CronJob finance/dbt-daily`."""
    name: str
    schedule: str
    """A cron line of five fields, as Kubernetes reads it."""
    commands: tuple[DbtCommand, ...]
    """In the order in which the source runs them."""
    time_zone: str = "Etc/UTC"
    is_suspended: bool = False
    installs_packages: bool = False
    """Whether the source runs `dbt deps`."""
    retries: int | None = None
    """Further attempts of the whole."""
    timeout: timedelta | None = None
    """Limit of the whole."""
    emails: tuple[str, ...] = ()
    """Addresses that are notified of failures."""
    credentials: tuple[str, ...] = ()
    """Where the source has the warehouse's login, by names only: `the Secret dbt-postgres`, `the variable DBT_PASSWORD`."""
    project: GitProject | None = None
    schema: str | None = None
    target: str | None = None
    threads: int | None = None
    resources: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    hidden: tuple[str, ...] = ()
    """Values in the source that may be secret: no text that is written contains them."""


@dataclass(frozen=True)
class Overrides:
    """What the user says instead of the source."""

    only: str | None = None
    """Name of the one to read, if the source has several."""
    name: str | None = None
    schedule: str | None = None
    secret: str = "warehouse"  # noqa: S105 - a name
    """Name of the Secret with the warehouse's connection."""
    schema: str | None = None
