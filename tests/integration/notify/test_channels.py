"""Slack and mail, to servers that really listen."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.ports import free_port
from refresh_api.notifications import Notification
from refresh_notify import FailedRun, notify
from support.webserver import WebServer

FAILED = FailedRun("phase2", "default", "Phase 2", "phase2-1", "LayerFailed", "mart_a: column does not exist", step="3/6 marts")
SLACK = Notification.model_validate({"slack": {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}})
MAIL = Notification.model_validate({"email": {"to": ["admin@sigeti.local"], "smtpSecretRef": {"name": "smtp"}}})
PASSWORD = "p%40:/'\"$"


class Mailbox:
    """Keeps what a mail server took."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (the library's name)
        self.taken.append(envelope)
        return "250 OK"


class Port(Controller):
    """A controller that asks for a port of its own choice to be free at once."""

    def __init__(self, mailbox: Mailbox, **options) -> None:
        super().__init__(mailbox, hostname="127.0.0.1", port=free_port(), **options)


@pytest.fixture
def mailbox() -> Mailbox:
    """An empty mailbox."""
    return Mailbox()


@pytest.fixture
def smtp(mailbox: Mailbox) -> Iterator[dict[str, str]]:
    """The Secret of a mail server without encryption."""
    controller = Port(mailbox)
    controller.start()
    yield {"host": "127.0.0.1", "port": str(controller.port), "from": "refresh@sigeti.local", "security": "none"}
    controller.stop()


def test_both_channels_are_told(mailbox: Mailbox, smtp: dict[str, str]):
    """The step and the model's error arrive at both."""
    with WebServer() as slack:
        told = notify([SLACK, MAIL], {"slack": {"url": f"{slack.url}/T/B/x"}, "smtp": smtp}, FAILED)
    assert [(channel.channel, channel.sent) for channel in told] == [("#phase2-alerts", True), ("admin@sigeti.local", True)]
    assert "mart_a: column does not exist" in slack.asked[0].body
    assert "#phase2-alerts" in slack.asked[0].body
    assert mailbox.taken[0].rcpt_tos == ["admin@sigeti.local"]
    assert "3/6 marts" in str(mailbox.taken[0].content)


def test_a_channel_that_fails_does_not_keep_the_others_from_being_told(smtp: dict[str, str]):
    """The first one answers 500, the second one is told."""
    with WebServer(statuses={"/T/B/x": 500}) as slack:
        told = notify([SLACK, MAIL], {"slack": {"url": f"{slack.url}/T/B/x"}, "smtp": smtp}, FAILED)
    assert [channel.sent for channel in told] == [False, True]
    assert told[0].message == "Slack answered 500: ok"


def test_an_address_that_nobody_answers_is_recorded_without_the_address():
    """A webhook's address is its secret."""
    (told,) = notify([SLACK], {"slack": {"url": f"http://127.0.0.1:{free_port()}/T/B/secret-part"}}, FAILED)
    assert not told.sent
    assert told.message == "Slack can't be reached (ConnectError)"


def test_a_missing_secret_is_named():
    """With its key."""
    slack, mail = notify([SLACK, MAIL], {"slack": {"other": "x"}}, FAILED)
    assert slack.message == "the Secret 'slack' with the key 'url' is not there"
    assert mail.message == "the Secret 'smtp' is not there"


def test_a_mail_server_that_is_away_is_recorded(smtp: dict[str, str]):
    """With host and port, since those are what is wrong."""
    port = str(free_port())
    (told,) = notify([MAIL], {"smtp": smtp | {"port": port}}, FAILED)
    assert not told.sent
    assert f"127.0.0.1:{port}" in (told.message or "")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    plain = serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(encoded + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def guarded(mailbox: Mailbox, certificate: Path) -> Iterator[dict[str, str]]:
    """The Secret of a mail server that wants STARTTLS and a password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def authenticate(_server, _session, _envelope, _mechanism, data) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"refresh", PASSWORD.encode()), handled=False)

    controller = Port(mailbox, tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True)
    controller.start()
    yield {"host": "localhost", "port": str(controller.port), "from": "refresh@sigeti.local", "user": "refresh", "password": PASSWORD}
    controller.stop()


def test_starttls_and_a_password_are_the_default(
    guarded: dict[str, str], mailbox: Mailbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    """The certificate is checked: here against a file that OpenSSL is pointed to."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (told,) = notify([MAIL], {"smtp": guarded}, FAILED)
    assert told.sent, told.message
    assert mailbox.taken


def test_a_certificate_that_nobody_vouches_for_is_refused(guarded: dict[str, str], mailbox: Mailbox):
    """A password goes to no stranger."""
    (told,) = notify([MAIL], {"smtp": guarded}, FAILED)
    assert not told.sent
    assert not mailbox.taken


def test_a_wrong_password_is_recorded_and_not_shown(guarded: dict[str, str], certificate: Path, monkeypatch: pytest.MonkeyPatch):
    """The server's answer is, the password is not."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (told,) = notify([MAIL], {"smtp": guarded | {"password": "wrong-one"}}, FAILED)
    assert not told.sent
    assert "535" in (told.message or "")
    assert "wrong-one" not in (told.message or "")
