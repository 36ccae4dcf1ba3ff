"""Merges what the two sources know about runs: the status of the refresh, and the run log in the warehouse.

The operator's verdict in the status wins over the run log: a runner that was killed leaves its row unfinished. The run log adds what the
status has no room for: nodes, medians, and runs older than the last ten. Either source alone is enough.
"""

from datetime import datetime, timedelta

from refresh_api.status import ActiveRun, FinishedRun, Run
from refresh_page.kube.models import Refresh
from refresh_page.runlog.models import MartRow, NodeRow, RefreshRows, RunRow, RunRows, StepRow
from refresh_page.views.run_models import Mart, Node, RunSummary, Step


class RunSource:
    """The runs of one refresh; `refresh` is None after the refresh was deleted."""

    def __init__(self, refresh: Refresh | None) -> None:
        status = refresh.status if refresh else None
        self._finished = {run.id: run for run in status.history} if status else {}
        self._active = {run.id: run for run in status.active} if status else {}
        self._progress = status.run if status else None

    def has(self, run: str) -> bool:
        """Return whether the status contains a run."""
        return run in self._finished or run in self._active or self.progress(run) is not None

    def finished(self, run: str) -> FinishedRun | None:
        """Return a run of the history."""
        return self._finished.get(run)

    def progress(self, run: str) -> Run | None:
        """Return what the runner reported, if its last report is about this run."""
        return self._progress if self._progress and self._progress.id == run else None

    def summaries(self, rows: RefreshRows | None) -> tuple[RunSummary, ...]:
        """Return all known runs, newest first."""
        found = {row.run: _from_row(row) for row in rows.runs} if rows else {}
        found |= {run.id: _from_history(run) for run in self._finished.values()}
        found |= {run.id: _from_active(run) for run in self._active.values()}
        return tuple(sorted(map(self._with_revision, found.values()), key=_time_of, reverse=True))

    def summary(self, run: str, rows: RunRows | None) -> RunSummary:
        """Return one run, from the first source that knows it: history, run log, the runner's report, active runs."""
        return self._with_revision(self._summary(run, rows))

    def _with_revision(self, run: RunSummary) -> RunSummary:
        """Return a run with the revision that its runner reported, if no other source has one."""
        progress = self.progress(run.run)
        if run.revision or not progress or not progress.project:
            return run
        return run.model_copy(update={"revision": progress.project.revision})

    def _summary(self, run: str, rows: RunRows | None) -> RunSummary:
        active = self._active.get(run)
        if finished := self._finished.get(run):
            found = _from_history(finished)
            # a run that has no start time in the status has one in the run log: that of its pod
            return found if found.start_time or not rows else found.model_copy(update={"start_time": rows.run.started_at})
        if rows:
            return _from_row(rows.run).model_copy(update={"trigger": active.trigger.value if active else None})
        if progress := self.progress(run):
            return _from_progress(progress)
        if active:
            return _from_active(active)
        return RunSummary(run=run, phase="Running")

    def steps(self, run: str, rows: RunRows | None, start: datetime, now: datetime) -> tuple[Step, ...]:
        """Return the steps of a run in order. Those that the run log does not have yet are pending; their state is in the status."""
        progress = self.progress(run)
        if not rows or not rows.steps:
            return _steps_from_progress(progress, start, now) if progress else ()
        known = {row.step for row in rows.steps}
        pending = (Step(step=each.name, state=each.state.value) for each in (progress.steps if progress else []) if each.name not in known)
        return (*(_step_from_row(row, rows, start, now) for row in rows.steps), *pending)

    def marts(self, run: str, rows: RunRows | None) -> tuple[Mart, ...]:
        """Return the results of the validation; those in the status are newer than those in the run log."""
        progress = self.progress(run)
        if not progress or not progress.validation:
            return tuple(map(_mart_from_row, rows.marts if rows else ()))
        return tuple(
            Mart(
                relation=mart.relation,
                verdict=mart.verdict.value,
                rows=mart.rows,
                null_shares={each.column: each.share for each in mart.null_shares},
                message=mart.message,
            )
            for mart in progress.validation
        )


def node_view(row: NodeRow, start: datetime) -> Node:
    """Return a node of the run log; `start` is the start of its run."""
    ended = (row.ended_at - start).total_seconds()
    return Node(
        id=row.node_id,
        node=row.node,
        is_test=row.is_test,
        state=row.state,
        seconds=row.seconds,
        start=max(0.0, ended - (row.seconds or 0.0)),
        sqlstate=row.sqlstate,
        message=row.message,
    )


def _from_history(run: FinishedRun) -> RunSummary:
    return RunSummary(
        run=run.id,
        outcome=run.outcome.value,
        reason=run.reason.value,
        message=run.message,
        trigger=run.trigger.value,
        mode=run.mode,
        marts=run.marts,
        attempts=run.attempts,
        revision=run.revision,
        start_time=run.start_time,
        completion_time=run.completion_time,
        seconds=_seconds(run.completion_time - run.start_time if run.start_time else None),
    )


def _from_row(row: RunRow) -> RunSummary:
    return RunSummary(
        run=row.run,
        outcome=row.outcome,
        phase=row.phase,
        reason=row.reason,
        message=row.message,
        mode=row.mode if row.mode != "refresh" else None,
        marts=row.marts,
        attempts=row.attempt,
        revision=row.revision,
        start_time=row.started_at,
        completion_time=row.ended_at,
        seconds=_seconds(row.ended_at - row.started_at if row.ended_at else None),
    )


def _from_active(run: ActiveRun) -> RunSummary:
    return RunSummary(run=run.id, phase="Running", trigger=run.trigger.value, mode=run.mode, start_time=run.start_time)


def _from_progress(run: Run) -> RunSummary:
    return RunSummary(
        run=run.id,
        outcome=run.outcome.value if run.outcome else None,
        phase=run.phase.value,
        reason=run.reason.value if run.reason else None,
        message=run.message,
        marts=run.marts,
        attempts=run.attempt,
        start_time=run.start_time,
        completion_time=run.completion_time,
    )


def _time_of(run: RunSummary) -> datetime:
    moment = run.start_time or run.completion_time
    if moment is None:
        raise ValueError(f"run {run.run} has no time")
    return moment


def _step_from_row(row: StepRow, rows: RunRows, start: datetime, now: datetime) -> Step:
    nodes = [node_view(node, start) for node in rows.nodes if node.step == row.step]
    is_running = row.seconds is None and row.state == "Running" and rows.run.ended_at is None
    return Step(
        step=row.step,
        state=row.state,
        tries=row.tries,
        start=_offset(row.started_at, start),
        seconds=(now - row.started_at).total_seconds() if is_running and row.started_at else row.seconds,
        median=rows.medians.get(row.step),
        message=row.message,
        nodes=tuple(sorted(nodes, key=lambda node: (node.start or 0.0, node.node))),
    )


def _steps_from_progress(progress: Run, start: datetime, now: datetime) -> tuple[Step, ...]:
    """Return steps whose durations are inferred: the status has no end of a step, so it ends where the next one starts."""
    found: list[Step] = []
    for number, step in enumerate(progress.steps):
        later = (each.start_time for each in progress.steps[number + 1 :] if each.start_time)
        end = next(later, progress.completion_time or now)
        found.append(
            Step(
                step=step.name,
                state=step.state.value,
                tries=step.tries,
                start=_offset(step.start_time, start),
                seconds=_seconds(end - step.start_time if step.start_time else None),
                message=step.message,
            )
        )
    return tuple(found)


def _mart_from_row(row: MartRow) -> Mart:
    shares = {column: f"{100 * count / row.rows:.1f}%" for column, count in row.nulls.items()} if row.rows else {}
    return Mart(relation=row.relation, verdict=row.verdict, rows=row.rows, null_shares=shares, message=row.message)


def _offset(moment: datetime | None, start: datetime) -> float | None:
    return None if moment is None else max(0.0, (moment - start).total_seconds())


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
