"""Notifies chats and mail of refreshes that fail for the same cause, or recover from it: the first at once, further ones together."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from refresh_api.notifications import Notification
from refresh_api.spec import RefreshSpec
from refresh_api.status import NotificationStatus, OperatorStatus, SharedFailure
from refresh_api.values import duration_text
from refresh_notify import NotifiedRun
from refresh_operator.names import Ref
from refresh_operator.reconcile.combined_messages import SOON, CombinedMessages
from refresh_operator.reconcile.notifications import failed_event, notified_run
from refresh_operator.runs.notices import shared_notice
from refresh_operator.runs.shared_failures import Group, channels_for, due_in, group_of, hint_of
from refresh_operator.state.refresh import InvalidSpec, Refresh

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A refresh in a message."""

    refresh: Refresh
    spec: RefreshSpec
    channels: list[Notification]
    run: NotifiedRun


@dataclass
class SharedFailures:
    """Which refreshes fail for the same cause, and of which of them people were notified.

    The status of each refresh is what lasts. It is written after a message is sent: if the operator is killed in between, the message is
    sent twice, never not at all.
    """

    messages: CombinedMessages
    _groups: dict[Group, dict[Ref, SharedFailure]] = field(default_factory=dict)
    """What is known of each refresh; what was sent but could not be written yet is only here."""
    _group_of: dict[Ref, Group] = field(default_factory=dict)
    _sending: set[Group] = field(default_factory=set)

    def forget(self, ref: Ref) -> None:
        """Forget a refresh."""
        group = self._group_of.pop(ref, None)
        if group and (members := self._groups.get(group)):
            members.pop(ref, None)
            if not members:
                del self._groups[group]

    async def notify(self, refresh: Refresh, status: OperatorStatus) -> timedelta | None:
        """Notify of a refresh and the others of its group, if that is due. Return after what time it is; None if nothing is left."""
        spec, failure = refresh.spec, status.shared_failure
        if isinstance(spec, InvalidSpec) or failure is None:
            self.forget(refresh.ref)
            return None
        group = group_of(refresh.ref.namespace, spec, failure)
        members = self._joined(refresh.ref, group, failure)
        if members[refresh.ref].notified_time:
            await self._record(refresh.ref, members[refresh.ref])
            return None
        if group in self._sending:
            return SOON
        if (wait := due_in(members, self.messages.settings.notification_window, self.messages.clock())) > timedelta(0):
            return wait
        await self._notify(group, {ref: each for ref, each in members.items() if each.notified_time is None})
        return None

    def _joined(self, ref: Ref, group: Group, failure: SharedFailure) -> dict[Ref, SharedFailure]:
        """Return the members of a group, with this refresh."""
        before = self._group_of.get(ref)
        known = self._groups[before].get(ref) if before else None
        if before != group:
            self.forget(ref)
            self._group_of[ref] = group
        members = self._groups.setdefault(group, {})
        members[ref] = known if known and _unsent(known) == failure else failure
        return members

    async def _notify(self, group: Group, failures: Mapping[Ref, SharedFailure]) -> None:
        # nothing was awaited since the failures were read, so that no other reconciliation sends them
        self._sending.add(group)
        try:
            entries = [each for ref, failure in failures.items() if (each := self._entry(ref, failure))]
            answers = await self._send(entries, group.cause)
        finally:
            self._sending.discard(group)
        now = self.messages.clock()
        for each in entries:
            members, ref = self._groups.get(group, {}), each.refresh.ref
            if members.get(ref) == failures[ref]:
                members[ref] = failures[ref].model_copy(update={"notified_time": now})
                await self._record(ref, members[ref])
        for each in entries:
            for answer in (answer for answer in answers if not answer.sent):
                await self.messages.applier.post_event(each.refresh, failed_event(each.run, answer), now)

    def _entry(self, ref: Ref, failure: SharedFailure) -> _Entry | None:
        """Return what a message says about a refresh; None if it has been changed since: its own reconciliation then notifies of it."""
        refresh = self.messages.observer.refresh(ref)
        if refresh is None or isinstance(refresh.spec, InvalidSpec) or refresh.status.shared_failure != failure:
            return None
        run = notified_run(refresh, refresh.spec, shared_notice(failure), self.messages.settings)
        what, hint = ("recover from", "") if failure.is_over else ("fail for", hint_of(failure.run, refresh.spec))
        window = duration_text(self.messages.settings.notification_window)
        note = f"Further refreshes that {what} the same cause within {window} ({failure.cause}) are in one message."
        now, zone = self.messages.clock(), refresh.spec.time_zone
        channels = [each for each in channels_for(refresh.spec, failure) if not each.is_quiet(zone, now)]
        return _Entry(refresh, refresh.spec, channels, replace(run, hint=hint, note=note))

    async def _send(self, entries: Sequence[_Entry], cause: str) -> list[NotificationStatus]:
        """Send one message about these refreshes to each of their channels, which are the same for all."""
        if not entries or not entries[0].channels:
            return []
        first, runs = entries[0], [each.run for each in entries]
        answers = await self.messages.send(first.refresh, first.spec, first.channels, runs, cause)
        sent = ", ".join(answer.channel for answer in answers if answer.sent) or "none"
        log.info("sent notifications of %d refreshes (%s, %s): %s", len(runs), first.run.event, cause, sent)
        return answers

    async def _record(self, ref: Ref, failure: SharedFailure) -> None:
        """Write to the status that people were notified. If that fails, the next reconciliation of the refresh does."""
        refresh = self.messages.observer.refresh(ref)
        if refresh and refresh.status.shared_failure == _unsent(failure):
            await self.messages.record(refresh, shared_failure=failure)


def _unsent(failure: SharedFailure) -> SharedFailure:
    return failure.model_copy(update={"notified_time": None})
