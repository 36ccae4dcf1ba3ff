"""Following a requested run until it is over; its exit code is the run's."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from refresh_api.names import REQUESTED_AT
from refresh_api.status import FinishedRun, Outcome
from refresh_cli.kubectl import CliError, Kubectl, RefreshView
from refresh_cli.show import SIGNS

TIMED_OUT = 124
"""Exit code where the run took longer than it was waited for; it goes on."""


@dataclass(frozen=True)
class RunWatcher:
    """Tells what happens to one request of a refresh."""

    kubectl: Kubectl
    report: Callable[[str], None]
    interval: float = 1.0
    """Seconds between two looks."""

    def wait(self, name: str, token: str, known: frozenset[str], within: float) -> FinishedRun:
        """Return the finished run that answers the request; CliError where it was refused, or is not over `within` seconds."""
        end, told = time.monotonic() + within, ""
        while time.monotonic() < end:
            seen = self.kubectl.refresh(name)
            status = seen.status
            if status.last_handled_request_at == token and status.request_problem:
                raise CliError(f"no run was started: {status.request_problem}")
            if seen.metadata.annotations.get(REQUESTED_AT) != token and status.last_handled_request_at != token:
                raise CliError("another request has replaced this one before its run started")
            if status.last_handled_request_at == token:
                over = _finished_run(seen, known)
                if over:
                    return over
            line = _progress(seen, token)
            if line != told:
                self.report(line)
                told = line
            time.sleep(self.interval)
        raise CliError("the run is not over yet; it goes on: kubectl dashboardrefresh status " + name, TIMED_OUT)


def exit_code(run: FinishedRun) -> int:
    """Return the exit code of the runner: 1 where the run failed."""
    return 1 if run.outcome is Outcome.FAILED else 0


def _finished_run(seen: RefreshView, known: frozenset[str]) -> FinishedRun | None:
    """The run that ended since the request; none while it is under way."""
    ended = [run for run in seen.status.history if run.trigger == "Requested" and run.id not in known]
    active = {run.id for run in seen.status.active if run.trigger == "Requested"}
    return ended[0] if ended and not active else None


def _progress(seen: RefreshView, token: str) -> str:
    status = seen.status
    if status.last_handled_request_at != token:
        return status.message or "waiting for the operator"
    run = status.run
    if run is None or run.id not in {each.id for each in status.active}:
        return status.message or "the run starts"
    steps = " ".join(f"{SIGNS[step.state]} {step.name}" for step in run.steps)
    return f"{steps}   {run.message or ''}".rstrip()
