"""Formats a refresh, its runs and its history as text."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from refresh_api.model import time_text
from refresh_api.plain import one_line
from refresh_api.project import short_revision
from refresh_api.status import FinishedRun, Run, StepState
from refresh_api.values import duration_text
from refresh_cli.kubectl import RefreshView

SIGNS = {
    StepState.PENDING: "·",
    StepState.RUNNING: "▶",
    StepState.SUCCEEDED: "✓",
    StepState.WARNED: "⚠",
    StepState.FAILED: "✗",
    StepState.SKIPPED: "-",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in kubectl's format."""
    lines = [list(head), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def status_text(refresh: RefreshView, now: datetime) -> str:
    """Return a refresh in a few lines: phase, message, schedule, last run and current run."""
    status = refresh.status
    lines = [f"{refresh.metadata.name}: {status.phase or 'not reconciled yet'}", *_indented([status.message or ""])]
    if status.suspended_since:
        lines.append(f"  suspended since {time_text(status.suspended_since)}")
    if status.next_schedule_times:
        lines.append(f"  next runs: {', '.join(status.next_schedule_times)}")
    if fresh := status.condition("DataFresh"):
        lines.append(f"  data: {fresh.reason}: {fresh.message}")
    if status.last_run:
        lines.append(f"  last run: {run_text(status.last_run, now)}")
    if status.missed_runs and status.last_missed_time:
        lines.append(f"  missed: {status.missed_runs}, last at {time_text(status.last_missed_time)} ({status.last_missed_reason})")
    if status.run:
        lines += ["", *run_lines(status.run)]
    return "\n".join(map(_indent_continuations, lines))


def run_text(run: FinishedRun, now: datetime) -> str:
    """Return a finished run in one line."""
    parts = [f"{run.outcome} ({run.reason})", f"{duration_text(now - run.completion_time)} ago"]
    parts += [f"took {run.duration}"] if run.duration else []
    parts += [f"marts {run.marts}"] if run.marts else []
    parts += [f"revision {short_revision(run.revision)}"] if run.revision else []
    return _indent_continuations(f"{run.id}: {', '.join(parts)}" + (f": {run.message}" if run.message else ""))


def run_lines(run: Run) -> Iterator[str]:
    """Yield the lines of a run: its steps and its marts."""
    yield f"run {run.id}: {run.phase}, attempt {run.attempt}/{run.attempts}" + (f": {run.message}" if run.message else "")
    if run.project:
        folder = "" if run.project.path == "." else f", folder {run.project.path}"
        yield f"  project {short_revision(run.project.revision)} of {run.project.url}{folder}"
        yield from _indented([run.project.message or ""])
    for number, step in enumerate(run.steps, 1):
        parts = [SIGNS[step.state], f"{number}/{len(run.steps)} {step.name}", step.duration or "", step.message or ""]
        yield "  " + "  ".join(part for part in parts if part)
    for mart in run.validation:
        yield f"    {mart.verdict.value:7} {mart.relation}" + (f"  {mart.rows} rows" if mart.rows is not None else "")


def history_text(refresh: RefreshView) -> str:
    """Return the finished runs as a table, newest first."""
    rows = [
        (
            run.id,
            run.outcome.value,
            run.reason.value,
            run.marts or "",
            time_text(run.completion_time),
            run.duration or "",
            run.trigger.value,
            run.mode or "",
            short_revision(run.revision or ""),
        )
        for run in refresh.status.history
    ]
    return table(("RUN", "RESULT", "REASON", "MARTS", "ENDED", "DURATION", "TRIGGER", "MODE", "REVISION"), rows)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines if line)


def _indent_continuations(text: str) -> str:
    """Indent the further lines of a message, so that they cannot be mistaken for ours."""
    return text.replace("\n", "\n      ")
