"""Notifications of runs whose runner did not report, and of recoveries. The runner sends all others."""

import asyncio
import logging

from refresh_api.reasons import EventReason
from refresh_api.spec import RefreshSpec
from refresh_notify import NotifiedRun, Rules, notify, secrets_needed
from refresh_operator.reconcile.observe import Observer
from refresh_operator.runs.notices import Notice
from refresh_operator.settings import Settings
from refresh_operator.state.refresh import Refresh
from refresh_operator.status.events import Event

log = logging.getLogger(__name__)


async def notify_people(observer: Observer, refresh: Refresh, spec: RefreshSpec, notice: Notice, settings: Settings) -> tuple[Event, ...]:
    """Send a notification to all channels that want it; return an event for each channel that failed.

    Secrets that the refresh may not use are never read.
    """
    run, wanted = notice.run, [each for each in spec.notifications if each.wants(notice.when)]
    if not wanted:
        return ()
    denied = await observer.denied_secrets(refresh, spec)
    allowed = [name for name in secrets_needed(wanted) if name not in denied]
    contents = {name: await observer.secret(refresh.ref.namespace, name) for name in allowed}
    notified = NotifiedRun(
        when=notice.when,
        failing_since=notice.failing_since,
        refresh=refresh.ref.name,
        namespace=refresh.ref.namespace,
        uid=refresh.metadata.uid,
        title=spec.display_name or refresh.ref.name,
        run=run.id,
        reason=run.reason.value,
        message=run.message or "",
        attempts=run.attempts,
        marts=run.marts,
        revision=run.revision,
        link_template=settings.run_url_template,
    )
    secrets = {name: content for name, content in contents.items() if content is not None}
    # a sender blocks until its server responds, and must not block the event loop
    answers = await asyncio.to_thread(notify, wanted, secrets, notified, Rules(settings.allow_http))
    sent = ", ".join(answer.channel for answer in answers if answer.sent) or "none"
    log.info("sent notifications of run %s (%s): %s", run.id, notice.when, sent, extra={"run": run.id})
    return tuple(
        Event(EventReason.NOTIFICATION_FAILED, f"run {run.id}: cannot notify {answer.channel}: {answer.message}", run.id, warning=True)
        for answer in answers
        if not answer.sent
    )
