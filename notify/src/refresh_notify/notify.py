"""Telling every channel of a refresh of one failed run, and recording which could be told."""

import logging
from collections.abc import Mapping, Sequence

from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.status import NotificationStatus, clip
from refresh_notify.channels import ChannelError, send_mail, send_slack
from refresh_notify.message import FailedRun, Message, message_for

log = logging.getLogger(__name__)

Secrets = Mapping[str, Mapping[str, str]]
"""Values by key by the Secret's name; a Secret that is not there is left out."""

_SHORTEST_SECRET = 4


def secrets_needed(notifications: Sequence[Notification]) -> list[str]:
    """Return the names of the Secrets that these channels read, each once."""
    names = []
    for notification in notifications:
        if notification.slack:
            names.append(notification.slack.webhook_secret_ref.name)
        if notification.email:
            names.append(notification.email.smtp_secret_ref.name)
    return list(dict.fromkeys(names))


def notify(notifications: Sequence[Notification], secrets: Secrets, failed: FailedRun) -> list[NotificationStatus]:
    """Tell every channel that wants failed runs; return which was told. A channel that fails is recorded and never raises."""
    message = message_for(failed)
    return [_told(notification, secrets, message) for notification in notifications if NotifyWhen.FAILED in notification.when]


def _told(notification: Notification, secrets: Secrets, message: Message) -> NotificationStatus:
    channel = _name(notification)
    try:
        _send(notification, secrets, message)
    except ChannelError as error:
        why = _without_secrets(str(error), secrets)
    except Exception as error:  # the run's result must not hang on a channel
        log.error("telling %s failed: %s", channel, type(error).__name__)
        why = type(error).__name__
    else:
        return NotificationStatus(channel=channel, sent=True)
    return NotificationStatus(channel=channel, sent=False, message=clip(why))


def _send(notification: Notification, secrets: Secrets, message: Message) -> None:
    if slack := notification.slack:
        reference = slack.webhook_secret_ref
        webhook = secrets.get(reference.name, {}).get(reference.key, "").strip()
        if not webhook:
            raise ChannelError(f"the Secret {reference.name!r} with the key {reference.key!r} is not there")
        send_slack(slack.channel, webhook, message)
    elif email := notification.email:
        smtp = secrets.get(email.smtp_secret_ref.name)
        if not smtp:
            raise ChannelError(f"the Secret {email.smtp_secret_ref.name!r} is not there")
        send_mail(email.to, smtp, message)


def _name(notification: Notification) -> str:
    if notification.slack:
        return notification.slack.channel
    return ", ".join(notification.email.to) if notification.email else "nobody"


def _without_secrets(text: str, secrets: Secrets) -> str:
    """Mask what servers quote of our credentials in their answers."""
    for keys in secrets.values():
        for key, value in keys.items():
            if key in {"password", "url"} and len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, "***")
    return text
