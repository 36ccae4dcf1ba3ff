"""Kubernetes events on a preview; pure."""

from datetime import datetime, timedelta
from typing import Final

from refresh_api.preview import PreviewState, PreviewStatus
from refresh_api.reasons import EventReason
from refresh_operator.previews.model import Preview
from refresh_operator.status.events import Event, message_of_event

_KEPT: Final = timedelta(hours=1)
"""How long the API server keeps an event by default. A later one would be a second one of the same."""


def events_of(preview: Preview, status: PreviewStatus, now: datetime) -> tuple[Event, ...]:
    """Return the events for what the operator is about to write to the status of a preview that has not ended."""
    events, uid = [], preview.metadata.uid
    if preview.status.state is None:
        wanted = preview.spec
        text = f"requested for {wanted.ref.label} of {wanted.refresh}" if wanted else "requested"
        events.append(Event(EventReason.PREVIEW_CREATED, message_of_event(text), uid))
    if status.job and preview.status.job is None:
        events.append(Event(EventReason.PREVIEW_STARTED, message_of_event(f"Job {status.job}"), uid))
    return (*events, *(events_of_end(uid, status, now) if status.has_ended else ()))


def events_of_end(uid: str, status: PreviewStatus, now: datetime) -> tuple[Event, ...]:
    """Return the event for the end of a preview. It has the same name each time, so that the API server keeps one."""
    if status.completion_time is None or now - status.completion_time >= _KEPT:
        return ()
    if status.state is PreviewState.FAILED:
        reason = next((each.reason for each in status.conditions if each.type == "Failed"), "")
        text = ": ".join(part for part in (reason, status.message) if part)
        return (Event(EventReason.PREVIEW_FAILED, message_of_event(text), uid, warning=True),)
    return (Event(EventReason.PREVIEW_COMPARED, message_of_event(status.message or ""), uid),)
