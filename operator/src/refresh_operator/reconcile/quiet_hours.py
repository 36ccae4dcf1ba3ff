"""Notifies channels at the end of their quiet hours: each of all refreshes with a problem that began in them and is not over."""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.quiet_hours import QuietPeriod
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus
from refresh_notify import NotifiedRun
from refresh_operator.names import Ref
from refresh_operator.reconcile.combined_messages import SOON, CombinedMessages
from refresh_operator.reconcile.notifications import failed_event, notified_run
from refresh_operator.runs.quiet_hours import held_back, next_end, periods_over, with_quiet_hours
from refresh_operator.runs.shared_failures import key_of
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.status.events import Event

log = logging.getLogger(__name__)

_NOTE: Final = "This happened during the quiet hours of this channel."


@dataclass(frozen=True)
class _Member:
    """A refresh with a channel whose quiet hours are over."""

    refresh: Refresh
    spec: RefreshSpec
    channel: Notification
    runs: list[NotifiedRun]


@dataclass
class QuietHoursEnd:
    """Which refreshes have channels with quiet hours, and of which of them these were notified.

    The status of each refresh has the time up to which that is done. It is written after a message is sent, as for shared failures.
    """

    messages: CombinedMessages
    _refreshes: dict[str, set[Ref]] = field(default_factory=dict)
    """By namespace."""
    _sent: dict[tuple[Ref, str], datetime] = field(default_factory=dict)
    """The end of the quiet hours after which a channel was notified of a refresh, until that is written."""
    _sending: set[tuple[str, str]] = field(default_factory=set)

    def forget(self, ref: Ref) -> None:
        """Forget a refresh."""
        self._refreshes.get(ref.namespace, set()).discard(ref)
        self._forget_sent(ref)

    async def notify(self, refresh: Refresh, status: OperatorStatus) -> timedelta | None:
        """Notify the channels whose quiet hours are over. Return after what time others are; None if none are quiet."""
        spec, ref = refresh.spec, refresh.ref
        if isinstance(spec, InvalidSpec) or not with_quiet_hours(spec):
            self.forget(ref)
            return None
        self._refreshes.setdefault(ref.namespace, set()).add(ref)
        now, handled = self.messages.clock(), status.quiet_hours_handled_until
        over = periods_over(spec, handled, now) if handled else []
        for channel, period in over:
            key = key_of(spec, channel)
            if (ref.namespace, key) in self._sending:
                return SOON
            if self._sent.get((ref, key)) != period.end:
                await self._notify(ref.namespace, key, period)
        if over or handled is None:
            await self._record(ref, max((period.end for _, period in over), default=now))
        end = next_end(spec, now)
        return max(SOON, end - now) if end else None

    async def _notify(self, namespace: str, key: str, period: QuietPeriod) -> None:
        """Notify one channel of all refreshes that have it, in one message for each kind of problem."""
        members = [each for ref in self._refreshes[namespace] if (each := self._member(ref, key, period))]
        failed: list[tuple[Refresh, Event]] = []
        self._sending.add((namespace, key))
        try:
            for when in NotifyWhen:
                failed += await self._send([replace(each, runs=[run for run in each.runs if run.when is when]) for each in members])
        finally:
            self._sending.discard((namespace, key))
        for each in members:
            self._sent[each.refresh.ref, key] = period.end
            self.messages.queue.add(each.refresh.ref)
        for refresh, event in failed:
            await self.messages.applier.post_event(refresh, event, self.messages.clock())

    def _member(self, ref: Ref, key: str, period: QuietPeriod) -> _Member | None:
        refresh = self.messages.observer.refresh(ref)
        if refresh is None or isinstance(refresh.spec, InvalidSpec):
            return None
        spec, handled = refresh.spec, refresh.status.quiet_hours_handled_until
        channel = next((each for each in with_quiet_hours(spec) if key_of(spec, each) == key), None)
        if channel is None or handled is None or handled >= period.end or self._sent.get((ref, key)) == period.end:
            return None
        notices = held_back(refresh.status, channel, period)
        runs = [replace(notified_run(refresh, spec, notice, self.messages.settings), note=_NOTE) for notice in notices]
        return _Member(refresh, spec, channel, runs)

    async def _send(self, members: list[_Member]) -> list[tuple[Refresh, Event]]:
        """Send one message about these refreshes; return the events to post if it is not accepted."""
        members = [each for each in members if each.runs]
        if not members:
            return []
        first, runs = members[0], [run for each in members for run in each.runs]
        answers = await self.messages.send(first.refresh, first.spec, [first.channel], runs, "during quiet hours")
        log.info("sent notifications of %d refreshes after quiet hours (%s)", len(runs), runs[0].event)
        return [(each.refresh, failed_event(each.runs[0], answer)) for each in members for answer in answers if not answer.sent]

    async def _record(self, ref: Ref, until: datetime) -> None:
        """Write to the status up to when the quiet hours are handled. If that fails, the next reconciliation of the refresh does."""
        refresh = self.messages.observer.refresh(ref)
        if refresh and await self.messages.record(refresh, quiet_hours_handled_until=until):
            self._forget_sent(ref)

    def _forget_sent(self, ref: Ref) -> None:
        for key in [key for key in self._sent if key[0] == ref]:
            del self._sent[key]
