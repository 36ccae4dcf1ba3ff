"""The doors to Slack and to a mail server; what they refuse is a ChannelError with the cause and no secret."""

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

import httpx

from refresh_notify.message import Message

TIMEOUT: Final = 10.0
"""Seconds that a channel may take to answer."""
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


class ChannelError(Exception):
    """A channel did not take the message; says why."""


def send_slack(channel: str, webhook: str, message: Message) -> None:
    """Post to an incoming webhook; ChannelError unless it answers 200."""
    content = {"channel": channel, "text": f"*{message.subject}*\n{message.text}"}
    try:
        answer = httpx.post(webhook, json=content, timeout=TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # Not the error's text: it may quote the address, which is the secret.
        raise ChannelError(f"Slack can't be reached ({type(error).__name__})") from error
    if answer.status_code != httpx.codes.OK:
        raise ChannelError(f"Slack answered {answer.status_code}: {answer.text[:200]}")


def send_mail(to: Sequence[str], smtp: Mapping[str, str], message: Message) -> None:
    """Send by the server of an SMTP Secret (host, from; port, user, password, security); ChannelError says what went wrong."""
    if missing := [key for key in ("host", "from") if not smtp.get(key)]:
        raise ChannelError(f"the Secret of the mail server lacks {', '.join(missing)}")
    security = smtp.get("security", "starttls").lower()
    port = smtp.get("port", str(_PORTS.get(security, "")))
    if security not in _PORTS:
        raise ChannelError("the mail server's security must be starttls, tls or none")
    if not port.isdigit():
        raise ChannelError("the mail server's port must be a number")
    try:
        with _connected(smtp["host"], int(port), security) as server:
            if smtp.get("user"):
                server.login(smtp["user"], smtp.get("password", ""))
            refused = server.send_message(_mail(to, smtp["from"], message))
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise ChannelError(f"the mail server {smtp['host']}:{port} did not take it: {error or type(error).__name__}") from error
    if refused:
        raise ChannelError(f"the mail server refused {', '.join(refused)}")


def _connected(host: str, port: int, security: str) -> smtplib.SMTP:
    if security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=TIMEOUT)
    if security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _mail(to: Sequence[str], sender: str, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip("> ") or "localhost")
    mail.set_content(message.text)
    return mail
