"""Why scheduled runs are suspended: by the global pause, the spec, a date or failures; pure."""

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
    """Why scheduled runs are suspended; of several reasons, the most important one."""

    reason: SuspendedReason
    message: str
    until: datetime | None = None
    """When scheduled runs resume; None if they stay suspended until somebody acts."""


def scheduled_failures(refresh: Refresh, ended: tuple[EndedRun, ...]) -> int:
    """Return the number of consecutive failed scheduled runs since the last success or reset."""
    count = 0 if refresh.pending_reset else refresh.status.scheduled_failures
    for run in (each.run for each in ended):
        if run.loads:
            count = 0
        elif run.outcome is Outcome.FAILED and run.trigger is Trigger.SCHEDULED and run.reason is not Reason.CANCELLED:
            count += 1
    return count


def suspension_of(snapshot: Snapshot, failures: int, now: datetime) -> Suspension | None:
    """Return why scheduled runs are suspended, or None. With an invalid spec, the last known suspension remains."""
    refresh = snapshot.refresh
    if not isinstance(refresh.spec, RefreshSpec):
        return last_suspension(refresh.status)
    found = list(_suspensions(snapshot, refresh.spec, failures, now))
    if not found:
        return None
    ends = [each.until for each in found]
    return Suspension(found[0].reason, found[0].message, None if None in ends else max(end for end in ends if end))


def _suspensions(snapshot: Snapshot, spec: RefreshSpec, failures: int, now: datetime) -> Iterator[Suspension]:
    if snapshot.denial:
        yield Suspension(snapshot.denial.suspended, f"scheduled runs are suspended: {snapshot.denial.message}")
    if snapshot.denied_secrets:
        yield Suspension(SuspendedReason.SECRET_NOT_ALLOWED, f"scheduled runs are suspended: {'; '.join(snapshot.denied_secrets.values())}")
    if snapshot.pause:
        yield Suspension(SuspendedReason.GLOBALLY_PAUSED, snapshot.pause.message, snapshot.pause.until)
    if spec.suspend:
        yield Suspension(SuspendedReason.SUSPENDED, "scheduled runs are suspended (spec.suspend)")
    if spec.suspend_until and now < spec.suspend_until:
        text = f"scheduled runs are suspended until {time_text(spec.suspend_until)} (spec.suspendUntil)"
        # without microseconds, as in the status: otherwise each reconciliation would write the status
        yield Suspension(SuspendedReason.SUSPENDED_UNTIL, text, spec.suspend_until.replace(microsecond=0))
    if spec.suspend_after_failures and failures >= spec.suspend_after_failures:
        text = (
            f"scheduled runs are suspended after {failures} failures in a row "
            f"(spec.suspendAfterFailures: {spec.suspend_after_failures}); "
            f"a successful requested run or a new value of the annotation {RESET_AT} resumes them"
        )
        yield Suspension(SuspendedReason.TOO_MANY_FAILURES, text)


def last_suspension(status: OperatorStatus) -> Suspension | None:
    """Return the suspension as recorded in the status, for a refresh whose spec is invalid now."""
    recorded = status.condition("Suspended")
    if status.suspended_since is None or recorded is None:
        return None
    try:
        return Suspension(SuspendedReason(recorded.reason), recorded.message, status.suspended_until)
    except ValueError:
        return None
