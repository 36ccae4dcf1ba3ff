"""The values that the page of a run shows, and that its JSON contains."""

from collections.abc import Mapping

from pydantic import JsonValue

from refresh_api.model import Model, Time
from refresh_api.status import EndpointStatus, NotificationStatus, ProjectStatus, TestCounts
from refresh_page.runlog.models import RunLogState
from refresh_page.views.affected import Affected
from refresh_page.views.graph import Graph

Rows = tuple[Mapping[str, JsonValue], ...]
"""Rows of a query, each by column."""


class RunSummary(Model):
    """One run, without its steps."""

    run: str
    outcome: str | None = None
    """Unset while the run is in progress."""
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    trigger: str | None = None
    mode: str | None = None
    """Unset for a plain refresh."""
    marts: str | None = None
    """Valid marts and all marts, for example 3/4."""
    attempts: int = 1
    revision: str | None = None
    """Of the dbt project that the run fetched; unset for the one in the image."""
    start_time: Time | None = None
    completion_time: Time | None = None
    seconds: float | None = None


class Node(Model):
    """A model, seed, snapshot or test."""

    id: str
    node: str
    is_test: bool
    state: str
    seconds: float | None = None
    start: float | None = None
    """Seconds since the start of the run."""
    sqlstate: str | None = None
    message: str | None = None
    rows: Rows = ()
    """Some of the rows that failed a test."""


class Step(Model):
    """A step, with the nodes that dbt ran in it."""

    step: str
    state: str
    tries: int = 0
    start: float | None = None
    """Seconds since the start of the run."""
    seconds: float | None = None
    """Duration; of a running step, so far."""
    median: float | None = None
    """Median duration over the last successful runs, in seconds."""
    message: str | None = None
    nodes: tuple[Node, ...] = ()


class Mart(Model):
    """The result of validating a mart."""

    relation: str
    verdict: str
    rows: int | None = None
    null_shares: Mapping[str, str] = {}
    """Percentage of NULL by key column, for example 12.5%."""
    message: str | None = None


class Artifact(Model):
    """A file that the run stored in the run log."""

    name: str
    media_type: str
    size: int
    """Compressed, in bytes."""


class RunView(Model):
    """The page of a run."""

    namespace: str
    name: str
    title: str
    run: RunSummary
    image: str | None = None
    project: ProjectStatus | None = None
    """The dbt project that the current or last run fetched."""
    generation: int | None = None
    pod: str | None = None
    version: str | None = None
    length: float = 0.0
    """Seconds from the start of the run to its end, or to now."""
    steps: tuple[Step, ...] = ()
    failures: tuple[Node, ...] = ()
    """Nodes that failed, then tests that warn and have rows to show."""
    affected: tuple[Affected, ...] = ()
    """Exposures of the dbt project that depend on nodes that failed."""
    graph: Graph | None = None
    """Unset if the run log does not have it."""
    marts: tuple[Mart, ...] = ()
    tests: TestCounts | None = None
    endpoints: tuple[EndpointStatus, ...] = ()
    notifications: tuple[NotificationStatus, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    log_tail: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    previous: str | None = None
    """The run before it, with which it can be compared; unset for the first one."""
    log_state: RunLogState = RunLogState.NOT_CONFIGURED
