"""What users write of who is told of a run, and when."""

from enum import StrEnum
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import Channel, Email, SecretKeyRef, SecretRef
from refresh_api.model import SpecModel
from refresh_api.values import rule


class NotifyWhen(StrEnum):
    """When people are told. (The field is `when`, not `on`: YAML 1.1 reads the key `on` as a boolean, and so does kubectl.)"""

    FAILED = "Failed"


class Slack(SpecModel):
    """A Slack channel, by an incoming webhook."""

    channel: Channel = Field(description='Channel, for example "#alerts".')
    webhook_secret_ref: SecretKeyRef = Field(description="Secret key with the webhook's address.")


class EmailTo(SpecModel):
    """Mail, by an SMTP server."""

    to: list[Email] = Field(min_length=1, max_length=20, description="Recipients.")
    smtp_secret_ref: SecretRef = Field(
        description="Secret with the SMTP server: host and from; "
        "optional are port (587), user, password and security (starttls, tls or none; starttls)."
    )


class Notification(SpecModel):
    """A channel by which people are told: either slack or email."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [rule("has(self.slack) != has(self.email)", "name exactly one of slack and email")]}
    )

    slack: Slack | None = Field(default=None, description="Tell a Slack channel.")
    email: EmailTo | None = Field(default=None, description="Send mail.")
    when: list[NotifyWhen] = Field(
        default_factory=lambda: [NotifyWhen.FAILED], min_length=1, max_length=1, description="When: Failed (every run that failed)."
    )

    @model_validator(mode="after")
    def _one_channel(self) -> Self:
        if (self.slack is None) == (self.email is None):
            raise ValueError("name exactly one of slack and email")
        return self
