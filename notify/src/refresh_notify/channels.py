"""Send messages to Slack and mail servers. A ChannelError quotes neither a response nor a secret, only status codes."""

import re
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final, assert_never

import httpx

from refresh_api.notifications import Channel, EmailTo, Slack
from refresh_notify.addresses import ForbiddenAddressError
from refresh_notify.calls import Caller, CallError, Cutoff, proxy_for, tried, why
from refresh_notify.mail import MailServer, MailServerTls
from refresh_notify.message import Message, slack_text

_MAIL_KEYS: Final = ("host", "from", "port", "user", "password", "security")
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"\\]+@[^\s@<>,;:\"\\]+")
_SENDER: Final = re.compile(rf"(?:[^<>\r\n]*<{_ADDRESS.pattern}>|{_ADDRESS.pattern})")
_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


class ChannelError(Exception):
    """A channel did not accept the message; the text says why."""


@dataclass(frozen=True)
class Rules:
    """Settings of all channels."""

    allow_http: bool = False
    """Allow webhooks with plain HTTP. Otherwise only on loopback."""
    timeout: float = 10.0
    """Maximum seconds of one call. All tries together may take twice as long: a pod has thirty seconds to terminate."""
    sleep: Callable[[float], None] = time.sleep


def send(channel: Channel, secret: Mapping[str, str], message: Message, rules: Rules) -> None:
    """Send a message to a channel, with the values of its Secret (empty if there is no such Secret); ChannelError if it is not accepted."""
    name = channel.secret.name
    match channel:
        case Slack():
            key = channel.webhook_secret_ref.key
            webhook = secret.get(key, "").strip()
            if not webhook:
                raise ChannelError(f"the Secret {name!r} does not exist or lacks the key {key!r}")
            send_slack(channel.channel, webhook, message, rules)
        case EmailTo():
            smtp = {key: value.strip("\r\n") for key, value in secret.items()}
            if not smtp:
                raise ChannelError(f"the Secret {name!r} does not exist")
            if unreadable := [key for key in _MAIL_KEYS if not _is_text(smtp.get(key, ""))]:
                raise ChannelError(f"the Secret {name!r} has values that are not valid UTF-8 text: {', '.join(unreadable)}")
            send_mail(channel.to, smtp, message, rules)
        case _:
            assert_never(channel)


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" or each == "\ufffd" for each in value)


def send_slack(channel: str, webhook: str, message: Message, rules: Rules) -> None:
    """Post to an incoming webhook; ChannelError unless the status is 200."""
    url = _webhook(webhook)
    if url.scheme == "http" and not rules.allow_http and not _LOOPBACK.fullmatch(url.host):
        raise ChannelError("the webhook is not called: its URL does not begin with https:// (see the chart value webhooks.allowHttp)")
    text = {"channel": channel, "text": slack_text(message), "unfurl_links": False, "unfurl_media": False}
    only_loopback = url.scheme == "http" and not rules.allow_http
    try:
        place, proxy = str(url.copy_with(raw_path=b"/", fragment=None)), proxy_for(url, rules.timeout)
        with Caller(place, proxy=proxy, only_loopback=only_loopback) as caller:
            # The body is not read: it must not be shown, and may be long.
            answer = tried(
                lambda left: caller.call("POST", str(url), min(left, rules.timeout), content=text, to_end=False),
                2 * rules.timeout,
                time.monotonic,
                rules.sleep,
            )
    except TimeoutError:
        raise ChannelError(f"Slack did not answer within {rules.timeout:.0f}s") from None
    except CallError as error:
        raise ChannelError(f"Slack cannot be reached ({error.kind or error})") from None
    if answer.status != httpx.codes.OK:
        raise ChannelError(f"Slack answered {answer.status}")


def _webhook(webhook: str) -> httpx.URL:
    try:
        url = httpx.URL(webhook) if webhook.isascii() and webhook.isprintable() and " " not in webhook else None
    except (httpx.InvalidURL, ValueError):
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise ChannelError("the webhook is not a valid URL: it must be one line that begins with https://")
    return url


def send_mail(to: Sequence[str], smtp: Mapping[str, str], message: Message, rules: Rules) -> None:
    """Send mail through the server of an SMTP Secret (host, from; optional: port, user, password, security); ChannelError if refused."""
    if missing := [key for key in ("host", "from") if not smtp.get(key)]:
        raise ChannelError(f"the Secret of the mail server lacks {', '.join(missing)}")
    security = smtp.get("security", "starttls").lower()
    if security not in _PORTS:
        raise ChannelError("the mail server's security must be starttls, tls or none")
    port = smtp.get("port", str(_PORTS[security]))
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ChannelError("the mail server's port must be a number between 1 and 65535")
    host = smtp["host"]
    if not (host.isprintable() and " " not in host):
        raise ChannelError("the mail server's host must be one name or address")
    if not _SENDER.fullmatch(smtp["from"]):
        raise ChannelError("the mail server's from must be one mail address")
    place = f"the mail server {host}:{port}"
    cutoff = Cutoff()
    try:
        with cutoff.after(2 * rules.timeout):
            refused = _sent(to, smtp, int(port), security, cutoff, rules.timeout, message)
    except smtplib.SMTPRecipientsRefused as error:
        raise ChannelError(f"{place} refused {_refused(error.recipients)}") from None
    except smtplib.SMTPResponseException as error:
        raise ChannelError(f"{place} did not accept the message: it answered {error.smtp_code}") from None
    except ForbiddenAddressError as error:
        raise ChannelError(f"{place} is not called: {error}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        cause = "no answer in time" if cutoff.passed or isinstance(error, TimeoutError) else why(error)
        raise ChannelError(f"{place} did not accept the message: {cause}") from None
    finally:
        cutoff.close()
    if refused:
        raise ChannelError(f"{place} refused {_refused(refused)}")


def _refused(recipients: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{recipient} ({answer[0]})" for recipient, answer in recipients.items())


def _sent(
    to: Sequence[str], smtp: Mapping[str, str], port: int, security: str, cutoff: Cutoff, timeout: float, message: Message
) -> dict[str, tuple[int, bytes]]:
    if security == "tls":
        server: MailServer = MailServerTls(smtp["host"], port, timeout, cutoff.hold, ssl.create_default_context())
    else:
        server = MailServer(smtp["host"], port, timeout, cutoff.hold)
    with server as connection:
        if security == "starttls":
            connection.starttls(context=ssl.create_default_context())
        if smtp.get("user"):
            connection.log_in(smtp["user"], smtp.get("password", ""))
        return connection.send_message(_mail(to, smtp["from"], message))


def _mail(to: Sequence[str], sender: str, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip("> ") or "localhost")
    mail.set_content(message.text)
    return mail
