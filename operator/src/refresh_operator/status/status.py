"""The operator's share of the status: what users read of one refresh; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from refresh_api import cron
from refresh_api.reasons import SuspendedReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import GOOD, HISTORY_LENGTH, ActiveRun, FinishedRun, OperatorStatus, Outcome, Phase, Reason, clip
from refresh_operator.runs.missed_runs import MissedRuns
from refresh_operator.runs.requests import Cancellation, RequestDecision
from refresh_operator.runs.runs import EndedRun
from refresh_operator.runs.suspension import Suspension, last_suspension
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.state.snapshot import Snapshot
from refresh_operator.status.conditions import QUOTE_LENGTH, conditions, one_line, readiness, running


@dataclass(frozen=True)
class Analysis:
    """What was concluded from a world, before it is put into words."""

    problem: Problem | None
    ended: tuple[EndedRun, ...]
    active: list[ActiveRun]
    request: RequestDecision
    cancellation: Cancellation
    missed: MissedRuns
    failures: int
    """Scheduled runs that have failed in a row."""
    suspension: Suspension | None
    """Why scheduled runs are off."""


def new_status(world: Snapshot, found: Analysis, now: datetime) -> OperatorStatus:
    """Return the whole share as it should be now."""
    refresh = world.refresh
    old = refresh.status
    ended = found.ended
    history = sorted([*(each.run for each in ended), *old.history], key=lambda run: run.completion_time, reverse=True)[:HISTORY_LENGTH]
    draft = old.model_copy(
        update={
            "observed_generation": refresh.metadata.generation,
            **_next_runs(refresh, found.suspension, now),
            "active": found.active,
            "history": history,
            "last_run": history[0] if history else old.last_run,
            "last_handled_request_at": found.request.handled,
            "request_problem": found.request.error,
            "last_handled_cancel": found.cancellation.handled,
            "scheduled_failures": found.failures,
            "last_handled_reset_at": refresh.pending_reset or old.last_handled_reset_at,
            "suspended_since": (old.suspended_since or now) if found.suspension else None,
            "suspended_until": found.suspension.until if found.suspension else None,
            **_counters(old, ended),
            **_missed(old, found.missed),
        }
    )
    return draft.model_copy(
        update={
            "phase": _phase(found),
            "message": clip(_message(world, draft, found, now), 2 * QUOTE_LENGTH),
            "conditions": conditions(world, draft, found.problem, found.suspension, now),
        }
    )


def problem_status(refresh: Refresh, problem: Problem, now: datetime) -> OperatorStatus:
    """Return the share of a refresh of which nothing could be seen: only its readiness changes."""
    old = refresh.status
    generation = refresh.metadata.generation
    others = [each for each in old.conditions if each.type not in ("Ready", "Reconciling", "Stalled")]
    return old.model_copy(
        update={
            "phase": Phase.STALLED if problem.stalled else Phase.BLOCKED,
            "message": clip(problem.message, 2 * QUOTE_LENGTH),
            "conditions": [*readiness(refresh, generation, problem, last_suspension(old), now), *others],
        }
    )


def _next_runs(refresh: Refresh, hold: Suspension | None, now: datetime) -> dict[str, object]:
    if isinstance(refresh.spec, InvalidSpec) or (hold and hold.until is None):
        return {"next_run": None, "next": None, "next_runs": []}
    begin = max(now, hold.until) if hold and hold.until else now
    coming = list(islice(cron.parse(refresh.spec.schedule, refresh.spec.time_zone).runs_after(begin), 3))
    first = coming[0] if coming else None
    return {"next_run": first, "next": _short(first, now), "next_runs": [each.isoformat(timespec="minutes") for each in coming]}


def _missed(old: OperatorStatus, judged: MissedRuns) -> dict[str, object]:
    if not judged.runs:
        return {"slots_judged_until": judged.evaluated_until}
    last = judged.runs[-1]
    return {
        "slots_judged_until": judged.evaluated_until,
        "missed_runs": old.missed_runs + len(judged.runs),
        "last_missed_time": last.time,
        "last_missed_reason": last.reason,
    }


def _short(moment: datetime | None, now: datetime) -> str | None:
    if moment is None:
        return None
    return moment.strftime("%a %H:%M") if moment - now < timedelta(days=7) else moment.strftime("%Y-%m-%d")


def _counters(old: OperatorStatus, ended: tuple[EndedRun, ...]) -> dict[str, object]:
    failures, success = old.consecutive_failures, old.last_success_time
    for run in (each.run for each in ended):
        if run.outcome in GOOD:
            failures, success = 0, run.completion_time if run.loads else success
        elif run.outcome is Outcome.FAILED and run.reason is not Reason.CANCELLED:
            failures += 1
    return {"consecutive_failures": failures, "last_success_time": success}


def _phase(found: Analysis) -> Phase:
    if found.problem:
        return Phase.STALLED if found.problem.stalled else Phase.BLOCKED
    if found.active:
        return Phase.RUNNING
    return Phase.SUSPENDED if found.suspension else Phase.SCHEDULED


_NEVER_BEGAN: Final = frozenset({Reason.START_TIMEOUT, Reason.IMAGE_PULL_FAILED, Reason.UNSCHEDULABLE, Reason.JOB_DELETED})
"""Reasons of runs that have left no log."""


def _advice(refresh: Refresh, last: FinishedRun) -> str:
    """Say what to do about a failed run, or where to look further."""
    namespace, name = refresh.ref.namespace, refresh.ref.name
    if last.reason is Reason.UNSCHEDULABLE:
        return f"what its pods ask of a node is in spec.resources and spec.podTemplate: kubectl describe dr -n {namespace} {name}"
    if last.reason in _NEVER_BEGAN:
        return f"look further: kubectl describe dr -n {namespace} {name}"
    # of several pods, `job/` would show the first one
    pods = f"job/{last.id}" if last.attempts <= 1 else f"-l job-name={last.id} --prefix --tail=-1"
    look = f"look further: kubectl logs -n {namespace} {pods}"
    if last.reason is Reason.WAREHOUSE_UNREACHABLE and isinstance(refresh.spec, RefreshSpec):
        return f"is PostgreSQL up, and is the Secret {refresh.spec.warehouse.secret_ref.name} right? {look}"
    return look


def _end(refresh: Refresh, last: FinishedRun, history: list[FinishedRun]) -> str:
    """How the last run ended, where that is to be looked at; of a part alone, also how the last full one failed."""
    which = f"the last run ({last.mode})" if last.is_partial else "the last run"
    full = next((run for run in history if run.outcome is not Outcome.SKIPPED and not run.is_partial), None) if last.is_partial else None
    before = f"; the last full run failed ({full.reason}): {one_line(full.message)}" if full and full.outcome is Outcome.FAILED else ""
    if last.outcome is Outcome.FAILED:
        return f"{which} failed ({last.reason}): {one_line(last.message)}{before}; {_advice(refresh, last)}"
    if last.outcome is Outcome.WARNED:
        return f"{which} ended with warnings: {one_line(last.message)}{before}"
    return f"{which} ended well{before}" if before else ""


def _message(world: Snapshot, share: OperatorStatus, found: Analysis, now: datetime) -> str:
    refresh, last, hold = world.refresh, share.last_run, found.suspension
    paused = hold if hold and hold.reason is SuspendedReason.EVERYTHING_PAUSED else None
    if found.problem:
        return found.problem.message
    if share.active:
        return running(world, share.active, now)[1] + (f"; {paused.message}" if paused else "")
    if paused:
        return paused.message + (f"; the request {one_line(refresh.pending_request)} waits for its end" if refresh.pending_request else "")
    if share.request_problem:
        return f"the request {one_line(share.last_handled_request_at)} started no run: {one_line(share.request_problem)}"
    if hold and hold.reason is SuspendedReason.TOO_MANY_FAILURES:
        return f"{hold.message}; the last run: {one_line(last.message) if last else ''}".rstrip(": ")
    if last and (said := _end(refresh, last, share.history)):
        return said
    if hold:
        return hold.message
    zone = refresh.spec.time_zone if isinstance(refresh.spec, RefreshSpec) else ""
    return f"next run: {share.next} ({zone})"
