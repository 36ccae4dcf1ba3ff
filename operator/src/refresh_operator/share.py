"""The operator's share of the status: what users read of one refresh; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from refresh_api import cron
from refresh_api.spec import RefreshSpec
from refresh_api.status import (
    HISTORY_LENGTH,
    ActiveRun,
    Condition,
    ConditionStatus,
    FinishedRun,
    OperatorShare,
    Outcome,
    Phase,
    Run,
    RunPhase,
    clip,
)
from refresh_operator.names import token_job_name
from refresh_operator.runs import Ended, start_problem
from refresh_operator.world import Invalid, Refresh, World

_GOOD: Final = frozenset({Outcome.SUCCEEDED, Outcome.WARNED})
_LINE: Final = 300
"""Characters of another message within a line of ours."""


@dataclass(frozen=True)
class Problem:
    """Why a refresh is not ready."""

    reason: str
    message: str
    stalled: bool
    """Whether only a change by its users can help; otherwise it heals by itself once what is missing is there."""


def share_of(world: World, problem: Problem | None, ended: tuple[Ended, ...], active: list[ActiveRun], now: datetime) -> OperatorShare:
    """Return the whole share as it should be now; `last_handled_request_at` stays as it was."""
    refresh = world.refresh
    old = refresh.share
    history = sorted([*(each.run for each in ended), *old.history], key=lambda run: run.completion_time, reverse=True)[:HISTORY_LENGTH]
    next_run = _next_run(refresh, now)
    draft = old.model_copy(
        update={
            "observed_generation": refresh.metadata.generation,
            "next_run": next_run,
            "next": _short(next_run, now),
            "active": active,
            "history": history,
            "last_run": history[0] if history else old.last_run,
            **_counters(old, ended),
        }
    )
    return draft.model_copy(
        update={
            "phase": _phase(refresh, problem, active),
            "message": clip(_message(world, draft, problem), 2 * _LINE),
            "conditions": _conditions(world, draft, problem, now),
        }
    )


def condition_of(share: OperatorShare, kind: str) -> Condition | None:
    """Return one condition of a share."""
    return next((each for each in share.conditions if each.type == kind), None)


def not_ready(refresh: Refresh, problem: Problem, now: datetime) -> OperatorShare:
    """Return the share of a refresh of which nothing could be seen: only its readiness changes."""
    old = refresh.share
    generation = refresh.metadata.generation
    others = [each for each in old.conditions if each.type not in ("Ready", "Reconciling", "Stalled")]
    return old.model_copy(
        update={
            "phase": Phase.BLOCKED,
            "message": problem.message,
            "conditions": [*_readiness(refresh, generation, problem, now), *others],
        }
    )


def _next_run(refresh: Refresh, now: datetime) -> datetime | None:
    if isinstance(refresh.spec, Invalid) or refresh.spec.suspend:
        return None
    return next(cron.parse(refresh.spec.schedule, refresh.spec.time_zone).after(now), None)


def _short(moment: datetime | None, now: datetime) -> str | None:
    if moment is None:
        return None
    return moment.strftime("%a %H:%M") if moment - now < timedelta(days=7) else moment.strftime("%Y-%m-%d")


def _counters(old: OperatorShare, ended: tuple[Ended, ...]) -> dict[str, object]:
    failures, success = old.consecutive_failures, old.last_success_time
    for run in (each.run for each in ended):
        if run.outcome in _GOOD:
            failures, success = 0, run.completion_time
        elif run.outcome is Outcome.FAILED:
            failures += 1
    return {"consecutive_failures": failures, "last_success_time": success}


def _phase(refresh: Refresh, problem: Problem | None, active: list[ActiveRun]) -> Phase:
    if problem:
        return Phase.STALLED if problem.stalled else Phase.BLOCKED
    if active:
        return Phase.RUNNING
    suspended = isinstance(refresh.spec, RefreshSpec) and refresh.spec.suspend
    return Phase.SUSPENDED if suspended else Phase.SCHEDULED


def _message(world: World, share: OperatorShare, problem: Problem | None) -> str:
    refresh, last = world.refresh, share.last_run
    if problem:
        return problem.message
    if share.active:
        return _running(world, share.active)[1]
    if last and last.outcome is Outcome.FAILED:
        look = f"kubectl logs -n {refresh.ref.namespace} job/{last.id}"
        return f"the last run failed ({last.reason}): {_line(last.message)}; look further: {look}"
    if last and last.outcome is Outcome.WARNED:
        return f"the last run ended with warnings: {_line(last.message)}"
    if share.next is None:
        return "no scheduled runs: suspended by spec.suspend"
    zone = refresh.spec.time_zone if isinstance(refresh.spec, RefreshSpec) else ""
    return f"next run: {share.next} ({zone})"


def _line(text: str | None) -> str:
    return clip(" ".join((text or "").split()), _LINE)


def _conditions(world: World, share: OperatorShare, problem: Problem | None, now: datetime) -> list[Condition]:
    refresh, generation = world.refresh, share.observed_generation
    reason, message = _running(world, share.active)
    running = ConditionStatus.TRUE if share.active else ConditionStatus.FALSE
    return [
        *_readiness(refresh, generation, problem, now),
        _condition(refresh.share, "Running", running, reason, message, generation, now),
        _last_run_condition(refresh.share, share.history, generation, now),
    ]


def _readiness(refresh: Refresh, generation: int, problem: Problem | None, now: datetime) -> list[Condition]:
    suspended = isinstance(refresh.spec, RefreshSpec) and refresh.spec.suspend
    fine = ("Suspended", "no scheduled runs while spec.suspend is true") if suspended else ("Scheduled", "the CronJob is as it should be")
    reason, message = (problem.reason, problem.message) if problem else fine
    holds = {
        "Ready": problem is None,
        "Reconciling": problem is not None and not problem.stalled,
        "Stalled": problem is not None and problem.stalled,
    }
    return [
        _condition(
            refresh.share,
            kind,
            ConditionStatus.TRUE if true else ConditionStatus.FALSE,
            reason if true or kind == "Ready" else f"Not{kind}",
            message if true or kind == "Ready" else "",
            generation,
            now,
        )
        for kind, true in holds.items()
    ]


def _running(world: World, active: list[ActiveRun]) -> tuple[str, str]:
    """The reason and message of the condition Running."""
    token = world.refresh.token
    if not active:
        return "Idle", ""
    run = active[0]
    reason, detail = _progress(world, run)
    more = f"; {len(active) - 1} more under way" if len(active) > 1 else ""
    waiting = (
        f"; the request {_line(token)} waits for its end" if token and not any(_answers(world, each, token) for each in active) else ""
    )
    return reason, f"run {run.id}: {detail}{more}{waiting}"


def _answers(world: World, run: ActiveRun, token: str) -> bool:
    return run.id == token_job_name(world.refresh.metadata.name, world.refresh.metadata.uid, token)


def _progress(world: World, run: ActiveRun) -> tuple[str, str]:
    seen = world.refresh.run
    there = any(job.metadata.name == run.id for job in world.jobs)
    problem = start_problem(world.pods_of(run.id)) if there else None
    told = seen if seen and seen.id == run.id else None
    if problem:
        attempt = f"attempt {told.attempt}/{told.attempts}: {_why(told)}; " if told and told.reason else ""
        return "Starting", f"{attempt}its pod has not started: {_line(problem[1])}" if problem[1] else f"{attempt}its pod is starting"
    if told and told.phase in (RunPhase.RETRYING, RunPhase.INTERRUPTED):
        return told.phase.value, f"attempt {told.attempt}/{told.attempts}: {_why(told)}; another one follows"
    if told and told.phase is RunPhase.WAITING:
        return "Waiting", _line(told.message) or "waits for the warehouse"
    if told:
        return "Running", f"attempt {told.attempt}/{told.attempts}"
    return "Running", "started"


def _why(run: Run) -> str:
    return ": ".join(part for part in (run.reason.value if run.reason else "", _line(run.message)) if part)


def _last_run_condition(old: OperatorShare, history: list[FinishedRun], generation: int, now: datetime) -> Condition:
    judged = next((run for run in history if run.outcome is not Outcome.SKIPPED), None)
    before = condition_of(old, "LastRunSucceeded")
    if judged:
        status = ConditionStatus.TRUE if judged.outcome in _GOOD else ConditionStatus.FALSE
        return _condition(old, "LastRunSucceeded", status, judged.reason.value, _line(judged.message), generation, now)
    if before:  # a history of skipped runs only says nothing new
        return before.model_copy(update={"observed_generation": generation})
    return _condition(old, "LastRunSucceeded", ConditionStatus.UNKNOWN, "NoRunYet", "no run has ended yet", generation, now)


def _condition(
    old: OperatorShare, kind: str, status: ConditionStatus, reason: str, message: str, generation: int, now: datetime
) -> Condition:
    before = condition_of(old, kind)
    since = before.last_transition_time if before and before.status is status else now
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since, observed_generation=generation)
