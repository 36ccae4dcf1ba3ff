"""Notifications of a refresh: their channels, when they are sent, and the Secret that each channel reads.

A new channel needs a model here, a field of `Notification`, and a case in `refresh_notify.channels.send`; everything else is generic.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import Channel as ChannelName
from refresh_api.fields import Email, SecretKeyRef, SecretRef
from refresh_api.model import SpecModel
from refresh_api.values import rule


class NotifyWhen(StrEnum):
    """When to notify. (The field is `when`, not `on`: YAML 1.1 reads the key `on` as a boolean, and so does kubectl.)"""

    FAILED = "Failed"


@dataclass(frozen=True)
class ChannelSecret:
    """The Secret that a channel reads."""

    name: str
    field: str
    """Field of the notification that names the Secret."""
    keys: tuple[str, ...]
    """Required keys."""
    reads_all_keys: bool
    """Whether the channel also reads optional keys, so that a run's pod gets the whole Secret."""


class Slack(SpecModel):
    """A Slack channel, notified through an incoming webhook."""

    channel: ChannelName = Field(description='Channel, for example "#alerts".')
    webhook_secret_ref: SecretKeyRef = Field(description="Secret key with the URL of the webhook.")

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return self.channel

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the webhook."""
        reference = self.webhook_secret_ref
        return ChannelSecret(reference.name, "slack.webhookSecretRef", (reference.key,), reads_all_keys=False)


class EmailTo(SpecModel):
    """Mail, sent through an SMTP server."""

    to: list[Email] = Field(min_length=1, max_length=20, description="Recipients.")
    smtp_secret_ref: SecretRef = Field(
        description="Secret with the SMTP server. Required keys: host, from. "
        "Optional keys: port (587), user, password, security (starttls, tls or none; defaults to starttls)."
    )

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return ", ".join(self.to)

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the SMTP server."""
        return ChannelSecret(self.smtp_secret_ref.name, "email.smtpSecretRef", ("host", "from"), reads_all_keys=True)


Channel = Slack | EmailTo


class Notification(SpecModel):
    """A channel, either slack or email, and when it is notified."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [rule("has(self.slack) != has(self.email)", "name exactly one of slack and email")]}
    )

    slack: Slack | None = Field(default=None, description="Slack channel to notify.")
    email: EmailTo | None = Field(default=None, description="Mail to send.")
    when: list[NotifyWhen] = Field(
        default_factory=lambda: [NotifyWhen.FAILED],
        min_length=1,
        max_length=1,
        description="When to notify. Failed: after each failed run. Defaults to Failed.",
    )

    @property
    def channel(self) -> Channel:
        """The channel that is set."""
        return next(each for each in (self.slack, self.email) if each)

    @model_validator(mode="after")
    def _one_channel(self) -> Self:
        if (self.slack is None) == (self.email is None):
            raise ValueError("name exactly one of slack and email")
        return self
