"""Kubernetes events on a refresh, one for each change of its status; pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from refresh_api.model import time_text
from refresh_api.objects import Json
from refresh_api.project import short_revision
from refresh_api.reasons import EventReason, SuspendedReason
from refresh_api.status import ConditionStatus, MissedReason, OperatorStatus, Outcome, ProjectCheck, Reason, clip
from refresh_operator.names import Ref
from refresh_operator.runs.missed_runs import MissedRun
from refresh_operator.runs.runs import EndedRun
from refresh_operator.specs.diff import Difference
from refresh_operator.state.kube_types import Metadata
from refresh_operator.status.conditions import freshness_change

_RUN_REASONS = {
    Outcome.SUCCEEDED: EventReason.RUN_SUCCEEDED,
    Outcome.WARNED: EventReason.RUN_SUCCEEDED_WITH_WARNINGS,
    Outcome.FAILED: EventReason.RUN_FAILED,
    Outcome.SKIPPED: EventReason.RUN_SKIPPED,
}
_MISSED_MAX = 10
"""Maximum number of events on missed runs in one reconciliation; further runs are only counted."""
_MESSAGE_LENGTH = 1000
"""Maximum length of an event's message; Kubernetes allows 1024 characters."""


class Subject(Protocol):
    """A refresh or a preview, which events are about."""

    @property
    def metadata(self) -> Metadata:
        """The object's metadata."""

    @property
    def ref(self) -> Ref:
        """The namespace, name and kind."""


@dataclass(frozen=True)
class Event:
    """One event to post."""

    reason: str
    message: str
    key: str
    """Identifies the subject of the event: events with the same reason, message and key are posted once."""
    warning: bool = False


def message_of_event(text: str) -> str:
    """Return a text in the length that Kubernetes allows for the message of an event."""
    return clip(text, _MESSAGE_LENGTH)


def events_of(
    before: OperatorStatus, after: OperatorStatus, ended: tuple[EndedRun, ...], missed: tuple[MissedRun, ...], now: datetime
) -> tuple[Event, ...]:
    """Return the events for the change from one status to the next."""
    known = {run.id for run in before.active}
    events = [Event(EventReason.RUN_STARTED, f"run {run.id} ({run.trigger.value})", run.id) for run in after.active if run.id not in known]
    for run in (each.run for each in ended):
        text = f"run {run.id}: {run.reason.value}" + (f": {run.message}" if run.message else "")
        reason = EventReason.RUN_CANCELLED if run.reason is Reason.CANCELLED else _RUN_REASONS[run.outcome]
        events.append(Event(reason, message_of_event(text), run.id, warning=reason is EventReason.RUN_FAILED))
    for each in missed[-_MISSED_MAX:]:
        warning = each.reason is not MissedReason.SUSPENDED
        events.append(Event(EventReason.RUN_MISSED, each.message, time_text(each.time), warning=warning))
    events += [*_failure_events(before, after, now), *_project_events(before, after)]
    return (*events, *_request_events(before, after, ended), *_freshness_events(before, after, now), *_readiness_events(before, after, now))


def _request_events(before: OperatorStatus, after: OperatorStatus, ended: tuple[EndedRun, ...]) -> list[Event]:
    events = []
    token, cancel = after.last_handled_request_at, after.last_handled_cancel
    if after.request_error and token and token != before.last_handled_request_at:
        events.append(
            Event(
                EventReason.REQUEST_REFUSED,
                message_of_event(f"request {token} started no run: {after.request_error}"),
                token,
                True,
            )
        )
    withdrew = bool(after.request_error) and token == cancel
    if cancel and cancel != before.last_handled_cancel and not withdrew and all(each.run.reason is not Reason.CANCELLED for each in ended):
        text = f"cancel={cancel}: no active run has this ID or was started by this request; see status.active"
        events.append(Event(EventReason.NOTHING_TO_CANCEL, message_of_event(text), cancel, True))
    return events


def _failure_events(before: OperatorStatus, after: OperatorStatus, now: datetime) -> list[Event]:
    old, new = before.condition("Suspended"), after.condition("Suspended")
    wanted = SuspendedReason.TOO_MANY_FAILURES
    if new is None or new.reason != wanted or (old and old.reason == wanted):
        return []
    return [Event(EventReason.TOO_MANY_FAILURES, message_of_event(new.message), time_text(now), warning=True)]


def _project_events(before: OperatorStatus, after: OperatorStatus) -> list[Event]:
    old, new = before.project_check or ProjectCheck(), after.project_check or ProjectCheck()
    checked = time_text(new.last_check_time) if new.last_check_time else ""
    if not new.error or new.error == old.error:
        return []
    return [Event(EventReason.PROJECT_CHECK_FAILED, message_of_event(new.error), checked, warning=True)]


def _freshness_events(before: OperatorStatus, after: OperatorStatus, now: datetime) -> list[Event]:
    new = freshness_change(before, after)
    if new is None:
        return []
    stale = new.status is not ConditionStatus.TRUE
    return [
        Event(EventReason.DATA_STALE if stale else EventReason.DATA_FRESH, message_of_event(new.message), time_text(now), warning=stale)
    ]


def project_event(revision: str, job: str) -> Event:
    """Return the event for the run that a new commit of the project has requested."""
    return Event(EventReason.PROJECT_CHANGED, f"{short_revision(revision)} is a new commit of the project: requested run {job}", job)


def drift_event(item: Json, found: tuple[Difference, ...]) -> Event:
    """Return the event for a corrected object. Without differences, the object had been deleted."""
    metadata = item["metadata"]
    name = metadata["name"] if isinstance(metadata, dict) else ""
    fields = ", ".join(each.path for each in found)
    text = f"drift corrected in {item['kind']} {name}: {fields or 'it was deleted, and is recreated'}"
    return Event(EventReason.DRIFT_CORRECTED, message_of_event(text), key="", warning=True)


def defaults_event(item: Json, fields: tuple[str, ...]) -> Event:
    """Return the event for an object that changed without a change of its refresh."""
    metadata = item["metadata"]
    name = metadata["name"] if isinstance(metadata, dict) else ""
    text = f"{item['kind']} {name} updated to new defaults of the operator: {', '.join(fields)}; active runs are not affected"
    return Event(EventReason.DEFAULTS_CHANGED, message_of_event(text), key="")


def _readiness_events(before: OperatorStatus, after: OperatorStatus, now: datetime) -> list[Event]:
    old, new = before.condition("Ready"), after.condition("Ready")
    healthy = new is not None and new.status is ConditionStatus.TRUE
    if new is None or (old is None and healthy) or (old and (old.status, old.reason) == (new.status, new.reason)):
        return []
    return [Event(new.reason, message_of_event(new.message), time_text(now), warning=new.status is not ConditionStatus.TRUE)]
