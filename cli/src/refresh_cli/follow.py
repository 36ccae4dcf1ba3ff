"""Waits for a requested run."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from refresh_api.names import REQUESTED_AT
from refresh_api.status import FinishedRun, Outcome
from refresh_cli.kubectl import CliError, Kubectl, RefreshView
from refresh_cli.show import SIGNS

TIMED_OUT = 124
"""Exit code after the timeout; the run continues."""


@dataclass(frozen=True)
class RunWatcher:
    """A watcher of a refresh's status that reports progress."""

    kubectl: Kubectl
    report: Callable[[str], None]
    interval: float = 1.0
    """Seconds between two polls."""

    def wait(self, name: str, request: str, known: frozenset[str], timeout: float) -> FinishedRun:
        """Return the finished run of a request. Raise CliError if the request is rejected or replaced, or after `timeout` seconds."""
        end, reported = time.monotonic() + timeout, ""
        while time.monotonic() < end:
            refresh = self.kubectl.refresh(name)
            status = refresh.status
            if status.last_handled_request_at == request and status.request_error:
                raise CliError(f"request rejected: {status.request_error}")
            if refresh.metadata.annotations.get(REQUESTED_AT) != request and status.last_handled_request_at != request:
                raise CliError("another request replaced this one before its run started")
            if status.last_handled_request_at == request and (finished := _finished_run(refresh, known)):
                return finished
            line = _progress(refresh, request)
            if line != reported:
                self.report(line)
                reported = line
            time.sleep(self.interval)
        raise CliError("timed out; the run continues: kubectl dashboardrefresh status " + name, TIMED_OUT)


def exit_code(run: FinishedRun) -> int:
    """Return 1 if the run failed, else 0."""
    return 1 if run.outcome is Outcome.FAILED else 0


def _finished_run(refresh: RefreshView, known: frozenset[str]) -> FinishedRun | None:
    """Return the requested run that finished since then; None while one is active."""
    ended = [run for run in refresh.status.history if run.trigger == "Requested" and run.id not in known]
    active = {run.id for run in refresh.status.active if run.trigger == "Requested"}
    return ended[0] if ended and not active else None


def _progress(refresh: RefreshView, request: str) -> str:
    status = refresh.status
    if status.last_handled_request_at != request:
        return status.message or "waiting for the operator"
    run = status.run
    if run is None or run.id not in {each.id for each in status.active}:
        return status.message or "starting"
    steps = " ".join(f"{SIGNS[step.state]} {step.name}" for step in run.steps)
    return f"{steps}   {run.message or ''}".rstrip()
