"""One run: what it did and when, what went wrong, what it left, and the commands to look further; pure."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from refresh_api.model import Model
from refresh_api.status import EndpointStatus, NotificationStatus, Run, TestCounts
from refresh_page.kube.models import Ref, Refresh
from refresh_page.runlog.models import FAILING_ROWS, RUN_LOG, MartRow, NodeRow, RunLogState, RunRows, StepRow
from refresh_page.views.log_lines import last_lines
from refresh_page.views.refresh import RunSummary, row_line, run_line

_FAILED: Final = frozenset({"failed", "broken"})
Rows = tuple[Mapping[str, JsonValue], ...]
"""By column."""
_FAILING_ROWS_FILE: Final = TypeAdapter(dict[str, Rows])


class Node(Model):
    """A model, seed, snapshot or test."""

    node: str
    is_test: bool
    state: str
    seconds: float | None = None
    start: float | None = None
    """Seconds after the run's start."""
    sqlstate: str | None = None
    message: str | None = None
    rows: Rows = ()
    """Some of those that a test found."""


class Step(Model):
    """A step, with what dbt did in it."""

    step: str
    state: str
    tries: int = 0
    start: float | None = None
    """Seconds after the run's start."""
    seconds: float | None = None
    usual: float | None = None
    """Seconds that it takes as a rule."""
    message: str | None = None
    nodes: tuple[Node, ...] = ()


class Mart(Model):
    """A mart as the validation found it."""

    relation: str
    verdict: str
    rows: int | None = None
    null_shares: Mapping[str, str] = {}
    message: str | None = None


class Artifact(Model):
    """A file that the run left."""

    name: str
    media_type: str
    size: int


class RunView(Model):
    """What the page of a run shows."""

    namespace: str
    name: str
    title: str
    run: RunSummary
    image: str | None = None
    generation: int | None = None
    pod: str | None = None
    version: str | None = None
    length: float = 0.0
    """Seconds from the run's start to its end, or to now."""
    steps: tuple[Step, ...] = ()
    failures: tuple[Node, ...] = ()
    marts: tuple[Mart, ...] = ()
    tests: TestCounts | None = None
    endpoints: tuple[EndpointStatus, ...] = ()
    notifications: tuple[NotificationStatus, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    log_tail: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    log_state: RunLogState = RunLogState.NOT_CONFIGURED


def is_known(refresh: Refresh | None, run: str) -> bool:
    """Whether the status knows the run."""
    if refresh is None:
        return False
    status = refresh.status
    told = [status.run.id] if status.run else []
    return run in [*told, *(each.id for each in status.history), *(each.id for each in status.active)]


def run_view(
    ref: Ref, run: str, refresh: Refresh | None, rows: RunRows | None, log_state: RunLogState, now: datetime, files: Mapping[str, str]
) -> RunView:
    """Return the view of a run that the status or the log tables know; what both know is taken from the fuller one.

    `files` are those that it left, as far as the page reads them, by name.
    """
    told = refresh.status.run if refresh and refresh.status.run and refresh.status.run.id == run else None
    line = _line(run, refresh, rows, told)
    finished = next((each for each in refresh.status.history if each.id == run), None) if refresh else None
    end = line.completion_time or now
    start = line.start_time or end
    steps = _steps_of_rows(rows, told, start, now) if rows and rows.steps else _steps_told(told, start, now)
    return RunView(
        namespace=ref.namespace,
        name=ref.name,
        title=refresh.title if refresh else ref.name,
        run=line,
        image=finished.image if finished else None,
        generation=finished.generation if finished else told.generation if told else None,
        pod=(rows.run.pod if rows else None) or (told.pod if told else None),
        version=told.version if told else None,
        length=max(1.0, (end - start).total_seconds(), *((step.start or 0.0) + (step.seconds or 0.0) for step in steps)),
        steps=steps,
        failures=_failures(rows, start, files.get(FAILING_ROWS, "{}")) if rows else (),
        marts=_marts(rows, told),
        tests=told.tests if told else None,
        endpoints=tuple(told.endpoints) if told else (),
        notifications=tuple(told.notifications) if told else (),
        artifacts=tuple(Artifact(name=each.name, media_type=each.media_type, size=each.size) for each in rows.artifacts) if rows else (),
        log_tail=last_lines(files.get(RUN_LOG, "")),
        commands=_commands(ref, run),
        log_state=log_state,
    )


def _line(run: str, refresh: Refresh | None, rows: RunRows | None, told: Run | None) -> RunSummary:
    finished = next((each for each in refresh.status.history if each.id == run), None) if refresh else None
    if finished:
        line = run_line(finished)
        # what the operator saw of it began with its Job, the log with its pod
        return line if line.start_time or not rows else line.model_copy(update={"start_time": rows.run.started_at})
    if rows:
        active = next((each for each in refresh.status.active if each.id == run), None) if refresh else None
        return row_line(rows.run).model_copy(update={"trigger": active.trigger.value if active else None})
    if told:
        return RunSummary(
            run=run,
            outcome=told.outcome.value if told.outcome else None,
            phase=told.phase.value,
            reason=told.reason.value if told.reason else None,
            message=told.message,
            marts=told.marts,
            attempts=told.attempt,
            start_time=told.start_time,
            completion_time=told.completion_time,
        )
    active = next((each for each in refresh.status.active if each.id == run), None) if refresh else None
    return RunSummary(
        run=run, phase="Running", trigger=active.trigger.value if active else None, start_time=active.start_time if active else None
    )


def _steps_of_rows(rows: RunRows, told: Run | None, start: datetime, now: datetime) -> tuple[Step, ...]:
    """What the log tables say, and the steps that are still to come."""
    there = {row.step for row in rows.steps}
    coming = (Step(step=step.name, state=step.state.value) for step in (told.steps if told else []) if step.name not in there)
    return (*(_step(row, rows, start, now) for row in rows.steps), *coming)


def _step(row: StepRow, rows: RunRows, start: datetime, now: datetime) -> Step:
    nodes = sorted((_node(node, start) for node in rows.nodes if node.step == row.step), key=lambda node: (node.start or 0.0, node.node))
    running = row.seconds is None and row.started_at is not None and row.state == "Running" and rows.run.ended_at is None
    return Step(
        step=row.step,
        state=row.state,
        tries=row.tries,
        start=_after(row.started_at, start),
        seconds=(now - row.started_at).total_seconds() if running and row.started_at else row.seconds,
        usual=rows.medians.get(row.step),
        message=row.message,
        nodes=tuple(nodes),
    )


def _steps_told(told: Run | None, start: datetime, now: datetime) -> tuple[Step, ...]:
    """What the status alone says: a step ends where the next one begins."""
    if told is None:
        return ()
    found: list[Step] = []
    for number, step in enumerate(told.steps):
        later = [each.start_time for each in told.steps[number + 1 :] if each.start_time]
        end = later[0] if later else (told.completion_time or now)
        seconds = (end - step.start_time).total_seconds() if step.start_time else None
        found.append(
            Step(
                step=step.name,
                state=step.state.value,
                tries=step.tries,
                start=_after(step.start_time, start),
                seconds=seconds,
                message=step.message,
            )
        )
    return tuple(found)


def _failures(rows: RunRows, start: datetime, found: str) -> tuple[Node, ...]:
    """What failed, tests with some of the rows that they found; then tests that only warn, if there are rows to show."""
    try:
        kept = _FAILING_ROWS_FILE.validate_json(found)
    except ValidationError:
        kept = {}
    failed = [node for node in rows.nodes if node.state in _FAILED]
    warned = [node for node in rows.nodes if node.state == "warned" and kept.get(node.node)]
    return tuple(_node(node, start).model_copy(update={"rows": kept.get(node.node, ())}) for node in (*failed, *warned))


def _node(row: NodeRow, start: datetime) -> Node:
    ended = (row.ended_at - start).total_seconds()
    return Node(
        node=row.node,
        is_test=row.is_test,
        state=row.state,
        seconds=row.seconds,
        start=max(0.0, ended - (row.seconds or 0.0)),
        sqlstate=row.sqlstate,
        message=row.message,
    )


def _after(moment: datetime | None, start: datetime) -> float | None:
    return None if moment is None else max(0.0, (moment - start).total_seconds())


def _marts(rows: RunRows | None, told: Run | None) -> tuple[Mart, ...]:
    if told and told.validation:
        return tuple(
            Mart(
                relation=mart.relation,
                verdict=mart.verdict.value,
                rows=mart.rows,
                null_shares={each.column: each.share for each in mart.null_shares},
                message=mart.message,
            )
            for mart in told.validation
        )
    return tuple(
        Mart(relation=row.relation, verdict=row.verdict, rows=row.rows, null_shares=_shares(row), message=row.message)
        for row in (rows.marts if rows else ())
    )


def _shares(row: MartRow) -> dict[str, str]:
    return {column: f"{100 * count / row.rows:.1f}%" for column, count in row.nulls.items()} if row.rows else {}


def _commands(ref: Ref, run: str) -> tuple[str, ...]:
    where, name = f"-n {shlex.quote(ref.namespace)}", shlex.quote(ref.name)
    return (
        f"kubectl {where} logs job/{shlex.quote(run)}",
        f"kubectl {where} describe dashboardrefresh {name}",
        f"kubectl dashboardrefresh status {name} {where}",
        f"kubectl dashboardrefresh run {name} --wait {where}",
    )
