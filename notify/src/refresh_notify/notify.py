"""Telling every channel of a refresh of one failed run, and recording which could be told."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.redaction import Redactor, known_values, secret_values
from refresh_api.status import NotificationStatus
from refresh_notify.channels import ChannelError, Rules, send_mail, send_slack
from refresh_notify.message import FailedRun, Message, message_for

log = logging.getLogger(__name__)

Secrets = Mapping[str, Mapping[str, str]]
"""Values by key by the Secret's name; a Secret that is not there is left out."""

_MAIL_KEYS: Final = ("host", "from", "port", "user", "password", "security")


def secrets_needed(notifications: Sequence[Notification]) -> list[str]:
    """Return the names of the Secrets that these channels read, each once."""
    names = []
    for notification in notifications:
        if notification.slack:
            names.append(notification.slack.webhook_secret_ref.name)
        if notification.email:
            names.append(notification.email.smtp_secret_ref.name)
    return list(dict.fromkeys(names))


def notify(
    notifications: Sequence[Notification], secrets: Secrets, failed: FailedRun, rules: Rules | None = None
) -> list[NotificationStatus]:
    """Tell every channel that wants failed runs, all at once; return which was told. A channel that fails is recorded and never raises."""
    wanted = [notification for notification in notifications if NotifyWhen.FAILED in notification.when]
    if not wanted:
        return []
    webhooks = {(slack.webhook_secret_ref.name, slack.webhook_secret_ref.key) for each in wanted if (slack := each.slack)}
    redact = Redactor(secret_values(secrets, webhooks), known_values(secrets))
    message = message_for(failed, redact)
    with ThreadPoolExecutor(len(wanted), "notify") as threads:
        return list(threads.map(lambda each: _told(each, secrets, message, redact, rules or Rules()), wanted))


def _told(notification: Notification, secrets: Secrets, message: Message, redact: Redactor, rules: Rules) -> NotificationStatus:
    channel = _name(notification)
    try:
        _send(notification, secrets, message, rules)
    except ChannelError as error:
        why = redact.clipped(str(error))
    except Exception as error:  # the run's result must not hang on a channel
        log.error("telling %s failed: %s", channel, type(error).__name__)
        why = type(error).__name__
    else:
        return NotificationStatus(channel=channel, sent=True)
    return NotificationStatus(channel=channel, sent=False, message=why)


def _send(notification: Notification, secrets: Secrets, message: Message, rules: Rules) -> None:
    if slack := notification.slack:
        reference = slack.webhook_secret_ref
        webhook = secrets.get(reference.name, {}).get(reference.key, "").strip()
        if not webhook:
            raise ChannelError(f"the Secret {reference.name!r} with the key {reference.key!r} is not there")
        send_slack(slack.channel, webhook, message, rules)
    elif email := notification.email:
        name = email.smtp_secret_ref.name
        smtp = {key: value.strip("\r\n") for key, value in secrets.get(name, {}).items()}
        if not smtp:
            raise ChannelError(f"the Secret {name!r} is not there")
        if unreadable := [key for key in _MAIL_KEYS if not _is_text(smtp.get(key, ""))]:
            raise ChannelError(f"the Secret {name!r} holds in {', '.join(unreadable)} what is no text (UTF-8)")
        send_mail(email.to, smtp, message, rules)


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" or each == "\ufffd" for each in value)


def _name(notification: Notification) -> str:
    if notification.slack:
        return notification.slack.channel
    return ", ".join(notification.email.to) if notification.email else "nobody"
