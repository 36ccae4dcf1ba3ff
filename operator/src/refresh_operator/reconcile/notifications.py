"""Notifications of runs whose runner did not report, of recoveries, stale data and missed runs. The runner sends all others."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from refresh_api.model import time_text
from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.reasons import EventReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import Condition, ConditionStatus, FinishedRun, MissedReason, NotificationStatus
from refresh_notify import NotifiedRun, Rules, notify, secrets_needed
from refresh_operator.reconcile.observe import Observer
from refresh_operator.runs.missed_runs import MissedRun, StartedRun
from refresh_operator.runs.notices import Audience, Notice
from refresh_operator.settings import Settings
from refresh_operator.state.refresh import Refresh
from refresh_operator.status.events import Event, message_of_event

log = logging.getLogger(__name__)

_SUBJECTS: Final = {NotifyWhen.STALE: "the age of the data", NotifyWhen.MISSED: "missed runs"}
"""What a notification is about that is about no run."""
_WHAT_TO_DO: Final = {
    MissedReason.CONTROLLER_DOWN: "check kube-controller-manager, and the quotas of the namespace; see the events of the CronJob",
    MissedReason.PREVIOUS_STILL_RUNNING: "raise the interval in spec.schedule, or find out why the previous run takes so long",
}


async def notify_people(
    observer: Observer, refresh: Refresh, spec: RefreshSpec, notice: Notice, settings: Settings, now: datetime
) -> tuple[Event, ...]:
    """Send a notification to all channels that want it and are not quiet now; return an event for each channel that failed.

    Secrets that the refresh may not use are never read.
    """
    audience = [each for each in spec.notifications if _is_for(notice.audience, each) and not each.is_quiet(spec.time_zone, now)]
    wanted = [each for each in audience if each.wants(notice.when)]
    if not wanted:
        return ()
    secrets = await channel_secrets(observer, refresh, spec, wanted)
    notified = notified_run(refresh, spec, notice, settings)
    # a sender blocks until its server responds, and must not block the event loop
    answers = await asyncio.to_thread(notify, wanted, secrets, notified, Rules(settings.allow_http))
    sent = ", ".join(answer.channel for answer in answers if answer.sent) or "none"
    log.info(
        "sent notifications of %s (%s): %s", _subject(notified), notified.event, sent, extra={"run": notified.run} if notified.run else {}
    )
    return tuple(failed_event(notified, answer) for answer in answers if not answer.sent)


def failed_event(notified: NotifiedRun, answer: NotificationStatus) -> Event:
    """Return the event for a channel that did not accept a message."""
    text = message_of_event(f"{_subject(notified)}: cannot notify {answer.channel}: {answer.message}")
    return Event(EventReason.NOTIFICATION_FAILED, text, notified.run or notified.event, warning=True)


def _subject(notified: NotifiedRun) -> str:
    return f"run {notified.run}" if notified.run else _SUBJECTS[notified.when]


def _is_for(audience: Audience, notification: Notification) -> bool:
    return audience is Audience.ALL or notification.combines is (audience is Audience.PEOPLE)


async def channel_secrets(
    observer: Observer, refresh: Refresh, spec: RefreshSpec, channels: Sequence[Notification]
) -> dict[str, Mapping[str, str]]:
    """Return the Secrets of channels that exist, by name, without those that the refresh may not use."""
    denied = await observer.denied_secrets(refresh, spec)
    allowed = [name for name in secrets_needed(channels) if name not in denied]
    contents = {name: await observer.secret(refresh.ref.namespace, name) for name in allowed}
    return {name: content for name, content in contents.items() if content is not None}


def notified_run(refresh: Refresh, spec: RefreshSpec, notice: Notice, settings: Settings) -> NotifiedRun:
    """Return what a notice says about a refresh."""
    return replace(
        _about(notice),
        when=notice.when,
        failing_since=notice.failing_since,
        refresh=refresh.ref.name,
        namespace=refresh.ref.namespace,
        uid=refresh.metadata.uid,
        title=spec.display_name or refresh.ref.name,
        link_template=settings.run_url_template,
    )


def _about(notice: Notice) -> NotifiedRun:
    """Return what a notice is about, without the refresh."""
    empty = NotifiedRun(refresh="", namespace="", title="", run=None, reason="", message="")
    about = notice.about
    match about:
        case Condition():
            return replace(empty, reason=about.reason, message=about.message, is_over=about.status is ConditionStatus.TRUE)
        case MissedRun():
            return replace(empty, reason=about.reason.value, message=about.message, hint=_WHAT_TO_DO.get(about.reason, ""))
        case StartedRun():
            message = f"the scheduled run of {time_text(about.time)} has started"
            return replace(empty, reason=EventReason.RUN_STARTED.value, message=message, is_over=True)
        case FinishedRun():
            return replace(
                empty,
                run=about.id,
                reason=about.reason.value,
                message=about.message or "",
                attempts=about.attempts,
                marts=about.marts,
                revision=about.revision,
            )
