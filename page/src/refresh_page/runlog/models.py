"""The rows of the run log, and the queries that select them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Final

RUNS_SHOWN: Final = 100
"""Runs that the page of a refresh lists."""
NODES_SHOWN: Final = 2000
"""Nodes that the page of a run lists."""
RUN_LOG: Final = "run.log"
RUN_RESULTS: Final = "run_results.json"
FAILING_ROWS: Final = "failing_rows.json"
DISPLAYED_FILES: Final = frozenset({RUN_LOG, FAILING_ROWS})
"""Artifacts of which the page displays the contents."""
MAX_MESSAGE: Final = 4000
"""Characters of a message; the rest is cut off by the query."""


class RunLogState(StrEnum):
    """Whether the page could read the run log."""

    AVAILABLE = "Available"
    NOT_CONFIGURED = "NotConfigured"
    """No Secret for the warehouse is mounted."""
    UNAVAILABLE = "Unavailable"
    """The warehouse does not answer, or refuses access."""


@dataclass(frozen=True)
class RunRow:
    """A run."""

    run: str
    mode: str
    attempt: int
    attempts: int
    pod: str | None
    phase: str
    outcome: str | None
    reason: str | None
    message: str | None
    marts: str | None
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    revision: str | None = None
    project: str | None = None
    """The ID of the dbt project's content."""


@dataclass(frozen=True)
class StepRow:
    """A step of a run."""

    run: str
    step: str
    position: int
    state: str
    tries: int
    started_at: datetime | None
    seconds: float | None
    message: str | None


@dataclass(frozen=True)
class NodeRow:
    """A model, seed, snapshot or test of a run."""

    node_id: str
    node: str
    step: str
    state: str
    seconds: float | None
    sqlstate: str | None
    message: str | None
    ended_at: datetime
    parents: list[str] | None = None
    """IDs of what a model reads; None for a test, and in the run log of an older runner."""

    @property
    def is_test(self) -> bool:
        """Whether the node is a test; the resource type is the first part of dbt's unique id."""
        return self.node_id.partition(".")[0] in ("test", "unit_test")


@dataclass(frozen=True)
class MartRow:
    """The result of validating a mart in one run."""

    run: str
    relation: str
    rows: int | None
    nulls: Mapping[str, int]
    duplicates: int | None
    newest: date | None
    verdict: str
    message: str | None


@dataclass(frozen=True)
class ArtifactRow:
    """An artifact of a run, without its content."""

    name: str
    media_type: str
    size: int
    """Bytes, compressed."""


@dataclass(frozen=True)
class RefreshRows:
    """The rows of one refresh: its last runs, newest first."""

    runs: tuple[RunRow, ...] = ()
    steps: tuple[StepRow, ...] = ()
    marts: tuple[MartRow, ...] = ()


@dataclass(frozen=True)
class LastStates:
    """The last run of a refresh that has executed nodes."""

    project: str | None = None
    """The ID of the dbt project's content."""
    states: Mapping[str, str] = field(default_factory=dict)
    """The states of its nodes, by their IDs."""


@dataclass(frozen=True)
class RunRows:
    """The rows of one run."""

    run: RunRow
    steps: tuple[StepRow, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    marts: tuple[MartRow, ...] = ()
    artifacts: tuple[ArtifactRow, ...] = ()
    medians: Mapping[str, float] = field(default_factory=dict)
    """Median duration of each step over the last 30 successful runs, in seconds."""
    previous: str = ""
    """The run before it, apart from skipped ones; empty for the first one."""


_RUN_COLUMNS: Final = f"""run_id, mode, attempt, attempts, pod, phase, outcome, reason, left(message, {MAX_MESSAGE}), marts, started_at,
    heartbeat_at, ended_at, revision, project"""
_RUNS: Final = f"""select run.* from (select null::text as revision, null::text as project) as absent
    cross join lateral (select {_RUN_COLUMNS} from dbt_refresh_run where namespace = %(namespace)s and refresh = %(refresh)s"""  # noqa: S608 - constants
"""The beginning of a query. A run log of an older runner lacks some columns; their names then mean those of `absent`."""
_STEP_COLUMNS: Final = f"run_id, step, position, state, tries, started_at, seconds, left(message, {MAX_MESSAGE})"
_MART_COLUMNS: Final = f"run_id, relation, rows, nulls, duplicates, newest, verdict, left(message, {MAX_MESSAGE})"
RUNS: Final = f"{_RUNS} order by started_at desc limit {RUNS_SHOWN}) as run order by started_at desc"
RUN: Final = f"{_RUNS} and run_id = %(run)s) as run"
STEPS: Final = f"select {_STEP_COLUMNS} from dbt_refresh_step where run_id = any(%(runs)s) order by position limit {RUNS_SHOWN * 24}"  # noqa: S608 - constants
MARTS: Final = f"select {_MART_COLUMNS} from dbt_refresh_mart where run_id = any(%(runs)s) order by relation limit {RUNS_SHOWN * 64}"  # noqa: S608 - constants
NODES: Final = f"""select node.* from (select null::jsonb as parents) as absent
    cross join lateral (select node_id, node, step, state, seconds, sqlstate, left(message, {MAX_MESSAGE}), ended_at, parents
        from dbt_refresh_node where run_id = %(run)s order by state in ('failed', 'broken') desc, ended_at limit {NODES_SHOWN}) as node
    order by state in ('failed', 'broken') desc, ended_at"""  # noqa: S608 - constants
ARTIFACTS: Final = """select name, media_type, octet_length(content) from dbt_refresh_artifact where run_id = %(run)s
    union all select 'docs.html', docs.media_type, octet_length(docs.content) from dbt_refresh_docs docs
    join dbt_refresh_run run using (project) where run_id = %(run)s order by 1 limit 50"""
CONTENT: Final = """select media_type, content from dbt_refresh_artifact where run_id = %(run)s and name = %(name)s
    union all select docs.media_type, docs.content from dbt_refresh_docs docs join dbt_refresh_run run using (project)
    where run_id = %(run)s and %(name)s = 'docs.html' limit 1"""
PROJECT: Final = "select content from dbt_refresh_project where project = %(project)s"
STATES: Final = f"""select last.project, node_id, state from (select null::text as project) as absent
    cross join lateral (select run_id, project from (select * from dbt_refresh_run
            where namespace = %(namespace)s and refresh = %(refresh)s order by started_at desc limit {RUNS_SHOWN}) as run
        where exists (select from dbt_refresh_node node where node.run_id = run.run_id) order by started_at desc limit 1) as last
    join dbt_refresh_node using (run_id) order by node_id limit {NODES_SHOWN}"""  # noqa: S608 - constants
"""The nodes of the last run that has executed any."""
MEDIANS: Final = """select step, percentile_cont(0.5) within group (order by seconds) from dbt_refresh_step join (
        select run_id from dbt_refresh_run where namespace = %(namespace)s and refresh = %(refresh)s
        and outcome in ('Succeeded', 'Warned') order by started_at desc limit 30) as usual using (run_id)
    where seconds is not null group by step"""
