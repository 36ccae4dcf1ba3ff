"""Sends one message about several refreshes, and records in the status of each that it was sent."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from refresh_api.notifications import Notification
from refresh_api.spec import RefreshSpec
from refresh_api.status import NotificationStatus
from refresh_notify import NotifiedRun, Rules, notify_together
from refresh_operator.errors import Conflict
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.reconcile.apply import Applier
from refresh_operator.reconcile.notifications import channel_secrets
from refresh_operator.reconcile.observe import Observer
from refresh_operator.settings import Settings
from refresh_operator.state.refresh import Refresh

SOON: Final = timedelta(seconds=1)
"""When a refresh is reconciled again whose message another reconciliation sends, or whose status could not be written."""


@dataclass(frozen=True)
class CombinedMessages:
    """What such messages need. The status is written after a message is sent, so that one is sent twice rather than not at all."""

    observer: Observer
    applier: Applier
    settings: Settings
    clock: Callable[[], datetime]
    queue: WorkQueue

    async def send(
        self, refresh: Refresh, spec: RefreshSpec, channels: Sequence[Notification], runs: Sequence[NotifiedRun], cause: str
    ) -> list[NotificationStatus]:
        """Notify these channels of a refresh, which is the first one, of all these runs; return what each channel answered."""
        secrets = await channel_secrets(self.observer, refresh, spec, channels)
        # a sender blocks until its server responds, and must not block the event loop
        return await asyncio.to_thread(notify_together, channels, secrets, runs, cause, Rules(self.settings.allow_http))

    async def record(self, refresh: Refresh, **fields: object) -> bool:
        """Write fields of the status. If it has changed meanwhile, return False: the next reconciliation of the refresh does it."""
        try:
            await self.applier.write_status(refresh, refresh.status.model_copy(update=fields))
        except Conflict:
            await self.observer.refetch(refresh.ref)
            self.queue.add(refresh.ref, SOON)
            return False
        return True
