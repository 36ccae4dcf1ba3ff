"""The channels of notifications: where each sends to, and the Secret that it reads."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, JsonValue

from refresh_api.fields import Channel as ChannelName
from refresh_api.fields import Email, SecretKeyRef, SecretRef, Url
from refresh_api.freeform import LEVELS, bounded
from refresh_api.maps import AlertLabels
from refresh_api.model import SpecModel

MESSAGE_FIELDS: Final = (
    "event",
    "namespace",
    "refresh",
    "displayName",
    "run",
    "reason",
    "message",
    "hint",
    "step",
    "attempts",
    "marts",
    "revision",
    "failingSince",
    "link",
    "subject",
    "text",
)
"""Fields of the JSON that a webhook gets, and placeholders of its `body`."""


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
    """A channel of Slack, or of Mattermost or Rocket.Chat, which take the same: notified through an incoming webhook."""

    channel: ChannelName = Field(description='Channel, for example "#alerts".')
    webhook_secret_ref: SecretKeyRef = Field(description="Secret key with the URL of the webhook.")

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return self.channel

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the webhook."""
        return _one_key(self.webhook_secret_ref, "slack.webhookSecretRef")


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


class Teams(SpecModel):
    """A channel or chat of Microsoft Teams, notified through the webhook of a workflow ("When a Teams webhook request is received")."""

    webhook_secret_ref: SecretKeyRef = Field(description="Secret key with the URL of the workflow's webhook.")

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return _label("Teams", self.webhook_secret_ref)

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the webhook."""
        return _one_key(self.webhook_secret_ref, "teams.webhookSecretRef")


class GoogleChat(SpecModel):
    """A space of Google Chat, notified through an incoming webhook."""

    webhook_secret_ref: SecretKeyRef = Field(description="Secret key with the URL of the webhook.")

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return _label("Google Chat", self.webhook_secret_ref)

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the webhook."""
        return _one_key(self.webhook_secret_ref, "googleChat.webhookSecretRef")


class Severity(StrEnum):
    """Severity of an incident."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class PagerDuty(SpecModel):
    """A service of PagerDuty. A failed run triggers an incident, one per refresh, which a recovery resolves."""

    routing_key_secret_ref: SecretKeyRef = Field(description="Secret key with the integration key of Events API v2.")
    severity: Severity = Field(default=Severity.ERROR, description="Severity of the incident. Defaults to error.")
    url: Url = Field(
        default="https://events.pagerduty.com/v2/enqueue",
        description="Address of Events API v2. Defaults to https://events.pagerduty.com/v2/enqueue; in the EU's service region it is "
        "https://events.eu.pagerduty.com/v2/enqueue.",
    )

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return _label("PagerDuty", self.routing_key_secret_ref)

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the integration key."""
        return _one_key(self.routing_key_secret_ref, "pagerDuty.routingKeySecretRef")


class Alertmanager(SpecModel):
    """An Alertmanager with API v2. A failed run fires an alert, one per refresh, which a recovery resolves."""

    secret_ref: SecretRef = Field(
        description="Secret with the address. Required key: url, without /api/v2/alerts. Optional key: authorization, the value of the "
        "Authorization header."
    )
    labels: AlertLabels = Field(
        default_factory=dict, description="Additional labels of the alert, such as severity or cluster, by which it is routed."
    )

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return _label("Alertmanager", self.secret_ref)

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the address."""
        return ChannelSecret(self.secret_ref.name, "alertmanager.secretRef", ("url",), reads_all_keys=True)


class WebhookFormat(StrEnum):
    """What the body of a webhook's request is."""

    PLAIN = "Plain"
    CLOUD_EVENTS = "CloudEvents"


class Webhook(SpecModel):
    """Any server that takes JSON by POST."""

    secret_ref: SecretRef = Field(
        description="Secret with the address. Required key: url. Optional keys: authorization, the value of the Authorization header; "
        "signingKey, in base64, with which each request is signed as Standard Webhooks specifies."
    )
    format: WebhookFormat = Field(
        default=WebhookFormat.PLAIN,
        description="Plain: the JSON of body. CloudEvents: an event of CloudEvents 1.0 in JSON, with it as data. Defaults to Plain.",
    )
    body: Annotated[dict[str, JsonValue], BeforeValidator(bounded)] | None = Field(
        default=None,
        max_length=64,
        description=f"JSON to send. In its texts, ${{name}} is replaced by a field of the message ({', '.join(MESSAGE_FIELDS)}), and $$ "
        f"by a dollar sign. Lists and objects may be nested at most {LEVELS} levels deep. Defaults to an object with all fields.",
    )

    @property
    def label(self) -> str:
        """Name of the channel in the status and logs."""
        return _label("webhook", self.secret_ref)

    @property
    def secret(self) -> ChannelSecret:
        """The Secret with the address."""
        return ChannelSecret(self.secret_ref.name, "webhook.secretRef", ("url",), reads_all_keys=True)


Channel = Slack | EmailTo | Teams | GoogleChat | PagerDuty | Alertmanager | Webhook


def _label(kind: str, reference: SecretRef | SecretKeyRef) -> str:
    return f"{kind} ({reference.name}/{reference.key})" if isinstance(reference, SecretKeyRef) else f"{kind} ({reference.name})"


def _one_key(reference: SecretKeyRef, field: str) -> ChannelSecret:
    return ChannelSecret(reference.name, field, (reference.key,), reads_all_keys=False)
