"""Notify every channel of a refresh of one run, and record which accepted the message."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from refresh_api.channels import Channel
from refresh_api.notifications import Notification
from refresh_api.redaction import Redactor, known_values, secret_values
from refresh_api.status import NotificationStatus
from refresh_notify.channels import send
from refresh_notify.message import Message, NotifiedRun, message_for, message_for_all
from refresh_notify.posting import ChannelError, Rules

log = logging.getLogger(__name__)

Secrets = Mapping[str, Mapping[str, str]]
"""Values by key, by the name of the Secret. Secrets that do not exist are left out."""


def secrets_needed(notifications: Sequence[Notification]) -> list[str]:
    """Return the names of the Secrets that these channels read, each once."""
    return list(dict.fromkeys(notification.channel.secret.name for notification in notifications))


def notify(
    notifications: Sequence[Notification], secrets: Secrets, run: NotifiedRun, rules: Rules | None = None
) -> list[NotificationStatus]:
    """Notify every channel that wants to know of a run, in parallel; return the result of each. A failure is recorded, never raised."""
    wanted = [notification for notification in notifications if run.is_test or notification.wants(run.when)]
    return _notify(wanted, secrets, lambda redact: message_for(run, redact), rules) if wanted else []


def notify_together(
    notifications: Sequence[Notification], secrets: Secrets, runs: Sequence[NotifiedRun], cause: str, rules: Rules | None = None
) -> list[NotificationStatus]:
    """Notify every channel of the runs of several refreshes in one message, as `notify` does of one."""
    return _notify(notifications, secrets, lambda redact: message_for_all(runs, cause, redact), rules)


def _notify(
    wanted: Sequence[Notification], secrets: Secrets, message_with: Callable[[Redactor], Message], rules: Rules | None
) -> list[NotificationStatus]:
    needed = [each.channel.secret for each in wanted]
    single_keys = {(secret.name, key) for secret in needed if not secret.reads_all_keys for key in secret.keys}
    redact = Redactor(secret_values(secrets, single_keys), known_values(secrets))
    message = message_with(redact)
    with ThreadPoolExecutor(len(wanted), "notify") as threads:
        return list(threads.map(lambda each: _notify_channel(each.channel, secrets, message, redact, rules or Rules()), wanted))


def _notify_channel(channel: Channel, secrets: Secrets, message: Message, redact: Redactor, rules: Rules) -> NotificationStatus:
    try:
        send(channel, secrets.get(channel.secret.name, {}), message, rules)
    except ChannelError as error:
        why = redact.clipped(str(error))
    except Exception as error:  # the run's result must not depend on a channel
        log.error("notifying %s failed: %s", channel.label, type(error).__name__)
        why = type(error).__name__
    else:
        return NotificationStatus(channel=channel.label, sent=True)
    return NotificationStatus(channel=channel.label, sent=False, message=why)
