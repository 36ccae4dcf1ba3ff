"""Notifications of a refresh: their channels, and when these are notified.

A new channel needs a model in `channels.py`, a field of `Notification`, and a case in `refresh_notify.channels.send`; everything else is
generic.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.channels import Alertmanager, Channel, EmailTo, GoogleChat, PagerDuty, Slack, Teams, Webhook
from refresh_api.fields import SET
from refresh_api.model import SpecModel
from refresh_api.quiet_hours import QuietHours, quiet_now
from refresh_api.values import number_set, rule


class NotifyWhen(StrEnum):
    """When to notify. (The field is `when`, not `on`: YAML 1.1 reads the key `on` as a boolean, and so does kubectl.)"""

    FAILED = "Failed"
    WARNED = "Warned"
    SUCCEEDED = "Succeeded"
    RECOVERED = "Recovered"
    STALE = "Stale"
    MISSED = "Missed"


_CHANNELS: Final = ("slack", "email", "teams", "googleChat", "pagerDuty", "alertmanager", "webhook")
_ONE_SAYS: Final = f"name exactly one of {', '.join(_CHANNELS[:-1])} and {_CHANNELS[-1]}"
_NO_QUIET_SAYS: Final = (
    "quietHours are for slack, email, teams and googleChat: PagerDuty and Alertmanager have schedules of their own, and a webhook's server "
    "decides itself"
)
_NO_PROBLEM_SAYS: Final = "pagerDuty and alertmanager take neither Warned nor Succeeded: nothing would resolve it"


NO_LIMIT_SAYS: Final = "notifications of stale data (when: Stale) need freshness.maxStaleness: without it no data are stale"
NO_LIMIT_RULE: Final = rule(
    "!has(self.notifications) || has(self.freshness) || self.notifications.all(n, !has(n.when) || !n.when.exists(x, x == 'Stale'))",
    NO_LIMIT_SAYS,
)
"""Rule of the whole spec."""


class Notification(SpecModel):
    """One channel, and when it is notified."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(f"{number_set(*_CHANNELS)} == 1", _ONE_SAYS),
                rule(
                    "!(has(self.pagerDuty) || has(self.alertmanager)) || !has(self.when) || "
                    "!self.when.exists(x, x in ['Warned', 'Succeeded'])",
                    _NO_PROBLEM_SAYS,
                ),
                rule("!has(self.quietHours) || !(has(self.pagerDuty) || has(self.alertmanager) || has(self.webhook))", _NO_QUIET_SAYS),
            ]
        }
    )

    slack: Slack | None = Field(default=None, description="Channel of Slack, Mattermost or Rocket.Chat to notify.")
    email: EmailTo | None = Field(default=None, description="Mail to send.")
    teams: Teams | None = Field(default=None, description="Channel or chat of Microsoft Teams to notify.")
    google_chat: GoogleChat | None = Field(default=None, description="Space of Google Chat to notify.")
    pager_duty: PagerDuty | None = Field(default=None, description="Service of PagerDuty in which to trigger and resolve incidents.")
    alertmanager: Alertmanager | None = Field(default=None, description="Alertmanager in which to fire and resolve alerts.")
    webhook: Webhook | None = Field(default=None, description="Server to which to send JSON.")
    when: list[NotifyWhen] = Field(
        default_factory=lambda: [NotifyWhen.FAILED],
        min_length=1,
        max_length=len(NotifyWhen),
        json_schema_extra=SET,
        description="When to notify. Failed: after each failed run. Warned: after each run that succeeded with warnings. "
        "Succeeded: after each run that succeeded without, unless it ended because nothing had changed. "
        "Recovered: once, after the first complete run that succeeds after failed ones; always for pagerDuty and alertmanager, which take "
        "neither Warned nor Succeeded. Stale: once, when the data become older than spec.freshness.maxStaleness, and once when they are "
        "fresh again. Missed: once, when a scheduled run does not start, unless runs are suspended or clocks went forward, and once when "
        "one has started again. Defaults to Failed.",
    )
    quiet_hours: list[QuietHours] = Field(
        default_factory=list,
        max_length=4,
        description="Times of day at which this channel is not notified. When they end, it is notified of what has failed, become stale or "
        "been missed in them and is not over. Not for pagerDuty, alertmanager and webhook. Defaults to none.",
    )

    @property
    def channel(self) -> Channel:
        """The channel that is set."""
        return self._channels[0]

    def wants(self, when: NotifyWhen) -> bool:
        """Return whether to notify the channel: what it has opened is always resolved."""
        return when in self.when or (when is NotifyWhen.RECOVERED and self._resolves)

    def is_quiet(self, zone: str, now: datetime) -> bool:
        """Return whether the channel has quiet hours, by the time zone of the refresh."""
        return quiet_now(self.quiet_hours, zone, now) is not None

    @property
    def combines(self) -> bool:
        """Whether one message may be about several refreshes: people read it. Programs get one for each refresh."""
        return not self._resolves and self.webhook is None

    @property
    def _channels(self) -> list[Channel]:
        every = (self.slack, self.email, self.teams, self.google_chat, self.pager_duty, self.alertmanager, self.webhook)
        return [each for each in every if each]

    @property
    def _resolves(self) -> bool:
        return self.pager_duty is not None or self.alertmanager is not None

    @model_validator(mode="after")
    def _one_channel(self) -> Self:
        if len(self._channels) != 1:
            raise ValueError(_ONE_SAYS)
        if self._resolves and not {NotifyWhen.WARNED, NotifyWhen.SUCCEEDED}.isdisjoint(self.when):
            raise ValueError(_NO_PROBLEM_SAYS)
        if self.quiet_hours and not self.combines:
            raise ValueError(_NO_QUIET_SAYS)
        return self
