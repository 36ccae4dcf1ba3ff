"""Why scheduled runs are off: because everything is paused, by the spec, until a date, or after failures; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from refresh_api.model import time_text
from refresh_api.names import RESET_AT
from refresh_api.reasons import SuspendedReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, Outcome, Reason, Trigger
from refresh_operator.runs.runs import EndedRun
from refresh_operator.state.refresh import Refresh
from refresh_operator.state.snapshot import Snapshot


@dataclass(frozen=True)
class Suspension:
    """Why scheduled runs are off; where there are several reasons, the first one that people should know."""

    reason: SuspendedReason
    message: str
    until: datetime | None = None
    """When they go on by themselves; None where they don't."""


def scheduled_failures(refresh: Refresh, ended: tuple[EndedRun, ...]) -> int:
    """Return how many scheduled runs in a row have failed by now; people may have begun the count anew."""
    count = 0 if refresh.pending_reset else refresh.status.scheduled_failures
    for run in (each.run for each in ended):
        if run.loads:
            count = 0
        elif run.outcome is Outcome.FAILED and run.trigger is Trigger.SCHEDULED and run.reason is not Reason.CANCELLED:
            count += 1
    return count


def suspension_of(world: Snapshot, failures: int, now: datetime) -> Suspension | None:
    """Return why scheduled runs are off, by the valid spec of a refresh; None where they are not."""
    refresh = world.refresh
    if not isinstance(refresh.spec, RefreshSpec):
        return last_suspension(refresh.status)
    found = list(_holds(world, refresh.spec, failures, now))
    if not found:
        return None
    ends = [each.until for each in found]
    return Suspension(found[0].reason, found[0].message, None if None in ends else max(end for end in ends if end))


def _holds(world: Snapshot, spec: RefreshSpec, failures: int, now: datetime) -> Iterator[Suspension]:
    if world.denied_secrets:
        yield Suspension(SuspendedReason.SECRET_NOT_ALLOWED, f"no scheduled runs: {'; '.join(world.denied_secrets.values())}")
    if world.pause:
        yield Suspension(SuspendedReason.EVERYTHING_PAUSED, world.pause.message, world.pause.until)
    if spec.suspend:
        yield Suspension(SuspendedReason.SUSPENDED, "no scheduled runs while spec.suspend is true")
    if spec.suspend_until and now < spec.suspend_until:
        text = f"no scheduled runs until {time_text(spec.suspend_until)} (spec.suspendUntil)"
        # to the second, as the status holds it: else it would be written at each look
        yield Suspension(SuspendedReason.SUSPENDED_UNTIL, text, spec.suspend_until.replace(microsecond=0))
    if spec.suspend_after_failures and failures >= spec.suspend_after_failures:
        text = (
            f"no scheduled runs, since {failures} in a row failed (spec.suspendAfterFailures: {spec.suspend_after_failures}); "
            f"a requested run that succeeds lets them go on, or a new value of the annotation {RESET_AT}"
        )
        yield Suspension(SuspendedReason.TOO_MANY_FAILURES, text)


def last_suspension(share: OperatorStatus) -> Suspension | None:
    """Return why scheduled runs were off when that could last be told, for a spec that nobody can read now."""
    said = next((each for each in share.conditions if each.type == "Suspended"), None)
    if share.suspended_since is None or said is None:
        return None
    try:
        return Suspension(SuspendedReason(said.reason), said.message, share.suspended_until)
    except ValueError:
        return None
