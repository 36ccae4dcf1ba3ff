"""Send a message through a mail server."""

import re
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

from refresh_notify.addresses import ForbiddenAddressError
from refresh_notify.calls import Cutoff, why
from refresh_notify.mail_server import MailServer, MailServerTls
from refresh_notify.message import Message
from refresh_notify.posting import ChannelError, Rules

_MAIL_KEYS: Final = ("host", "from", "port", "user", "password", "security")
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"\\]+@[^\s@<>,;:\"\\]+")
_SENDER: Final = re.compile(rf"(?:[^<>\r\n]*<{_ADDRESS.pattern}>|{_ADDRESS.pattern})")


def smtp_values(name: str, secret: Mapping[str, str]) -> dict[str, str]:
    """Return the values of an SMTP Secret; ChannelError if it does not exist, or if they are no text."""
    smtp = {key: value.strip("\r\n") for key, value in secret.items()}
    if not smtp:
        raise ChannelError(f"the Secret {name!r} does not exist")
    if unreadable := [key for key in _MAIL_KEYS if not _is_text(smtp.get(key, ""))]:
        raise ChannelError(f"the Secret {name!r} has values that are not valid UTF-8 text: {', '.join(unreadable)}")
    return smtp


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" or each == "\ufffd" for each in value)


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
