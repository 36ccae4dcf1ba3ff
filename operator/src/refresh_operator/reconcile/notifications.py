"""Tells people of failed runs that ended without a report; the runner tells of all others itself."""

import asyncio
import logging

from refresh_api.reasons import EventReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import FinishedRun
from refresh_notify import FailedRun, Rules, notify, secrets_needed
from refresh_operator.reconcile.cluster import Cluster
from refresh_operator.settings import Settings
from refresh_operator.state.refresh import Refresh
from refresh_operator.status.events import Event

log = logging.getLogger(__name__)


async def notify_failed_run(
    cluster: Cluster, refresh: Refresh, spec: RefreshSpec, run: FinishedRun, settings: Settings
) -> tuple[Event, ...]:
    """Send one failed run to every channel of its refresh; return an event for each channel that did not take it.

    A Secret that the refresh may not use is not read.
    """
    refused = await cluster.denied_secrets(refresh, spec)
    wanted = [name for name in secrets_needed(spec.notifications) if name not in refused]
    contents = {name: await cluster.secret(refresh.ref.namespace, name) for name in wanted}
    failed = FailedRun(
        refresh=refresh.ref.name,
        namespace=refresh.ref.namespace,
        title=spec.title or refresh.ref.name,
        run=run.id,
        reason=run.reason.value,
        message=run.message or "",
        attempts=run.attempts,
        marts=run.marts,
        link_template=settings.run_url_template,
    )
    secrets = {name: content for name, content in contents.items() if content is not None}
    # the senders wait for their servers: not in the loop that everything else runs in
    answers = await asyncio.to_thread(notify, spec.notifications, secrets, failed, Rules(settings.allow_http))
    log.info(
        "told of run %s: %s", run.id, ", ".join(answer.channel for answer in answers if answer.sent) or "nobody", extra={"run": run.id}
    )
    return tuple(
        Event(EventReason.NOTIFICATION_FAILED, f"run {run.id}: {answer.channel} could not be told: {answer.message}", run.id, warning=True)
        for answer in answers
        if not answer.sent
    )
