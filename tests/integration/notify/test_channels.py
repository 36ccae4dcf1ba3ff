"""Notifications by Slack and mail, to real servers."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from cluster.ports import free_port
from refresh_api.notifications import Notification
from refresh_notify import NotifiedRun, Rules, notify
from support.certificates import create_certificate
from support.rawserver import RawServer, http
from support.webserver import WebServer

FAILED = NotifiedRun("phase2", "default", "Phase 2", "phase2-1", "LayerFailed", "mart_a: column does not exist", step="3/6 marts")
SLACK = Notification.model_validate({"slack": {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}})
MAIL = Notification.model_validate({"email": {"to": ["admin@sigeti.local"], "smtpSecretRef": {"name": "smtp"}}})
PASSWORD = "p%40:/'\"$"


class Mailbox:
    """A mailbox with the messages that a mail server accepted."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (the library's name)
        self.taken.append(envelope)
        return "250 OK"


class Port(Controller):
    """A controller on a free port."""

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
    """Both receive the step and the model's error."""
    with WebServer() as slack:
        told = notify([SLACK, MAIL], {"slack": {"url": f"{slack.url}/T/B/x"}, "smtp": smtp}, FAILED)
    assert [(channel.channel, channel.sent) for channel in told] == [("#phase2-alerts", True), ("admin@sigeti.local", True)]
    assert "mart_a: column does not exist" in slack.asked[0].body
    assert "#phase2-alerts" in slack.asked[0].body
    assert mailbox.taken[0].rcpt_tos == ["admin@sigeti.local"]
    assert "3/6 marts" in str(mailbox.taken[0].content)


def test_a_channel_that_fails_does_not_keep_the_others_from_being_told(smtp: dict[str, str]):
    """The first one answers 500, and the second one is notified."""
    with WebServer(statuses={"/T/B/x": 500}) as slack:
        told = notify([SLACK, MAIL], {"slack": {"url": f"{slack.url}/T/B/x"}, "smtp": smtp}, FAILED)
    assert [channel.sent for channel in told] == [False, True]
    assert told[0].message == "Slack answered 500"


def test_an_address_that_nobody_answers_is_recorded_without_the_address():
    """The URL of a webhook is secret."""
    (told,) = notify([SLACK], {"slack": {"url": f"http://127.0.0.1:{free_port()}/T/B/secret-part"}}, FAILED)
    assert not told.sent
    assert told.message == "Slack cannot be reached (ConnectError)"


def test_a_missing_secret_is_named():
    """The message names the Secret and its key."""
    slack, mail = notify([SLACK, MAIL], {"slack": {"other": "x"}}, FAILED)
    assert slack.message == "the Secret 'slack' does not exist or lacks the key 'url'"
    assert mail.message == "the Secret 'smtp' does not exist"


def test_a_mail_server_that_is_away_is_recorded(smtp: dict[str, str]):
    """With host and port, since these may be wrong."""
    port = str(free_port())
    (told,) = notify([MAIL], {"smtp": smtp | {"port": port}}, FAILED)
    assert not told.sent
    assert f"127.0.0.1:{port}" in (told.message or "")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost, its key in the same file."""
    return create_certificate(tmp_path / "server.pem").file


@pytest.fixture
def guarded(mailbox: Mailbox, certificate: Path) -> Iterator[dict[str, str]]:
    """The Secret of a mail server that requires STARTTLS and a password."""
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
    """The certificate is verified, here with a file that OpenSSL's environment variable names."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (told,) = notify([MAIL], {"smtp": guarded}, FAILED)
    assert told.sent, told.message
    assert mailbox.taken


def test_a_certificate_that_nobody_vouches_for_is_refused(guarded: dict[str, str], mailbox: Mailbox):
    """A password must not be sent to an unknown server."""
    (told,) = notify([MAIL], {"smtp": guarded}, FAILED)
    assert not told.sent
    assert not mailbox.taken


def test_a_wrong_password_is_recorded_and_not_shown(guarded: dict[str, str], certificate: Path, monkeypatch: pytest.MonkeyPatch):
    """The message has the server's status code, but not the password."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (told,) = notify([MAIL], {"smtp": guarded | {"password": "wrong-one"}}, FAILED)
    assert not told.sent
    assert "535" in (told.message or "")
    assert "wrong-one" not in (told.message or "")


def test_nothing_that_a_channel_answers_is_told(smtp: dict[str, str]):
    """Only the status code is: a response may quote the webhook's path or internal data. Control: the server did send them."""
    with WebServer(statuses={"/T/B/x9y8z7w6": 404}, body="no_service for /T/B/x9y8z7w6; SecretAccessKey=abc") as slack:
        (told,) = notify([SLACK], {"slack": {"url": f"{slack.url}/T/B/x9y8z7w6"}}, FAILED)
    assert slack.paths() == ["/T/B/x9y8z7w6"]
    assert told.message == "Slack answered 404"
    with RawServer([[b"554 SecretAccessKey=abc\r\n"]], hears_first=False) as server:
        (told,) = notify([MAIL], {"smtp": smtp | {"port": str(server.port)}}, FAILED)
    assert told.message == f"the mail server 127.0.0.1:{server.port} did not accept the message: it answered 554"


def test_no_redirect_is_followed():
    """It would send the message to an address that is not in the Secret."""
    with WebServer() as other, RawServer([http(302, Location=other.url), http(307, Location=other.url)]) as slack:
        (told,) = notify([SLACK], {"slack": {"url": f"{slack.url}/T"}}, FAILED)
    assert told.message == "Slack answered 302"
    assert other.asked == []


@pytest.mark.parametrize(
    ("statuses", "sent", "calls"), [([429, 200], True, 2), ([503, 503, 200], True, 3), ([503] * 4, False, 3), ([500], False, 1)]
)
def test_a_channel_that_asks_for_another_try_gets_it(statuses: list[int], sent: bool, calls: int):
    """Up to three tries, after the delay that it asks for; other status codes are final."""
    waited: list[float] = []
    with RawServer([http(status, Retry_After="2") for status in statuses]) as slack:
        (told,) = notify([SLACK], {"slack": {"url": f"{slack.url}/T"}}, FAILED, Rules(sleep=waited.append))
    assert (told.sent, len(slack.heard), waited) == (sent, calls, [2.0] * (calls - 1))


def test_a_channel_that_asks_for_too_long_a_wait_is_given_up():
    """Immediately: the run's pod does not wait for an hour."""
    waited: list[float] = []
    with RawServer([http(429, Retry_After="3600")]) as slack:
        (told,) = notify([SLACK], {"slack": {"url": f"{slack.url}/T"}}, FAILED, Rules(sleep=waited.append))
    assert (told.message, waited) == ("Slack answered 429", [])


def test_an_answer_that_does_not_end_is_not_read():
    """Only the status code is needed; a body of a gigabyte is not read."""
    with RawServer([]) as slack:
        slack.scripts.append([b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"])
        (told,) = notify([SLACK], {"slack": {"url": f"{slack.url}/T"}}, FAILED)
    assert told.sent


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[febf::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "[::]",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
def test_the_addresses_of_metadata_services_are_refused(host: str, smtp: dict[str, str]):
    """In all notations, for webhooks and mail; nothing is sent. Control: another address is called."""
    bare = host.strip("[]")
    slack, mail = notify(
        [SLACK, MAIL],
        {"slack": {"url": f"https://{host}/latest"}, "smtp": smtp | {"host": bare, "port": "1"}},
        FAILED,
        Rules(allow_http=True),
    )
    # httpx rejects numbers that begin with a zero.
    assert ("its address is refused" if host[0] != "0" or "x" in host or host == "0.0.0.0" else "not a valid URL") in (slack.message or "")
    assert f"{bare}:1 is not called: its address is refused" in (mail.message or "")
    slack, mail = notify([SLACK, MAIL], {"slack": {"url": "https://127.0.0.1:1/x"}, "smtp": smtp | {"port": "1"}}, FAILED)
    assert slack.message == "Slack cannot be reached (ConnectError)"
    assert "connection refused" in (mail.message or "")


def test_a_proxy_is_not_asked_for_what_may_not_be_called(monkeypatch: pytest.MonkeyPatch):
    """The proxy would call it from its own network. Control: it is used for other hosts, including names that do not resolve here."""
    with RawServer([http(403)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        (told,) = notify([SLACK], {"slack": {"url": "https://169.254.169.254/latest"}}, FAILED)
        assert "its address is refused" in (told.message or "")
        assert proxy.heard == []
        notify([SLACK], {"slack": {"url": "https://hooks.nowhere.invalid/T"}}, FAILED)
    assert proxy.heard[0].startswith(b"CONNECT hooks.nowhere.invalid:443")


def test_an_address_that_was_checked_is_called_by_its_name(certificate: Path, monkeypatch: pytest.MonkeyPatch):
    """The connection uses the checked address, so that DNS cannot redirect it afterwards; TLS and HTTP still use the host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with RawServer([http(200)], tls=context) as slack:
        (told,) = notify([SLACK], {"slack": {"url": f"https://localhost:{slack.port}/T"}}, FAILED)
        assert told.sent, told.message
        assert asked == ["localhost"]
        assert f"Host: localhost:{slack.port}".encode() in slack.heard[0]
        (told,) = notify([SLACK], {"slack": {"url": f"https://127.0.0.1:{slack.port}/T"}}, FAILED)
    assert told.message == "Slack cannot be reached (its certificate is for another name)"


@pytest.mark.parametrize(
    "url", ["http://hooks.example.org/T/B/x", "http://10.0.0.1/T", "ftp://hooks/x", "hooks.slack.com/T", "https://a b/"]
)
def test_a_webhook_is_called_by_https(url: str):
    """Plain HTTP would reveal the webhook to the network, except on this machine. Messages do not quote the URL."""
    (told,) = notify([SLACK], {"slack": {"url": url}}, FAILED)
    assert not told.sent
    assert "https://" in (told.message or "")
    assert url.rpartition("//")[2][:12] not in (told.message or "")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_password_in_any_letters_logs_in(mailbox: Mailbox, smtp: dict[str, str], mechanism: str):
    """It is sent in UTF-8, as SASL requires. A wrong one is refused, and no part of it is shown."""
    password = "pässwörd-€-😀"

    def authenticate(_server, _session, _envelope, _mechanism, data) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == ("chloé".encode(), password.encode()), handled=False)

    exclude = {"LOGIN", "PLAIN"} - {mechanism}
    controller = Port(mailbox, authenticator=authenticate, auth_required=True, auth_require_tls=False, auth_exclude_mechanism=exclude)
    controller.start()
    try:
        secret = smtp | {"port": str(controller.port), "user": "chloé", "password": password + "\n"}
        (told,) = notify([MAIL], {"smtp": secret}, FAILED)
        assert told.sent, told.message
        (told,) = notify([MAIL], {"smtp": secret | {"password": "falsch-ü-9"}}, FAILED)
    finally:
        controller.stop()
    assert told.message == f"the mail server 127.0.0.1:{controller.port} did not accept the message: it answered 535"
    assert len(mailbox.taken) == 1


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("from", "refresh@sigeti.local\r\nBcc: all@sigeti.local", "from must be one mail address"),
        ("from", "refresh@sigeti.local, other@sigeti.local", "from must be one mail address"),
        ("from", "geheim", "from must be one mail address"),
        ("host", "127.0.0.1\r\nQUIT", "host must be one name"),
        ("port", "geheim", "port must be a number"),
        ("port", "²", "port must be a number"),
        ("port", "70000", "port must be a number"),
        ("security", "geheim", "must be starttls, tls or none"),
        ("password", "\udcff\udcfe", "not valid UTF-8 text: password"),
    ],
)
def test_a_mail_secret_that_is_wrong_says_what(smtp: dict[str, str], mailbox: Mailbox, key: str, value: str, says: str):
    """The message names the key, but never the value: if a user mixes up keys, it may be a password."""
    (told,) = notify([MAIL], {"smtp": smtp | {key: value}}, FAILED)
    assert says in (told.message or "")
    assert "geheim" not in (told.message or "")
    assert mailbox.taken == []


def test_a_row_that_is_quoted_calls_nobody_and_links_nowhere(mailbox: Mailbox, smtp: dict[str, str]):
    """Slack shows mentions and links as text, and the header of a mail cannot be forged."""
    said = "<!channel> <http://evil.example|the run> & <@U1>\x1b[2J\u202eevil"
    failed = NotifiedRun("phase2", "default", "T <!here>\r\nBcc: all@sigeti.local", "phase2-1", "LayerFailed", said)
    with WebServer() as slack:
        told = notify([SLACK, MAIL], {"slack": {"url": slack.url}, "smtp": smtp}, failed)
    assert [each.sent for each in told] == [True, True]
    text = json.loads(slack.asked[0].body)["text"]
    assert "&lt;!channel&gt; &lt;http://evil.example|the run&gt; &amp; &lt;@U1&gt;" in text
    assert not any(each in text for each in "<>\x1b\u202e")
    headers = str(mailbox.taken[0].content).partition("\\r\\n\\r\\n")[0]
    assert "Subject:" in headers
    assert "\\nBcc" not in headers
    assert mailbox.taken[0].rcpt_tos == ["admin@sigeti.local"]


def test_a_slow_drip_ends(smtp: dict[str, str]):
    """A server that sends a byte now and then never exceeds the timeout of a read, but that of the channel. For both channels."""
    with RawServer([]) as slack, RawServer([], hears_first=False) as mail:
        slack.scripts.append(slack.drip(b"HTTP/1.1 200 OK\r\nX: "))
        mail.scripts.append(mail.drip(b"220-"))
        began = time.monotonic()
        told = notify([SLACK, MAIL], {"slack": {"url": slack.url}, "smtp": smtp | {"port": str(mail.port)}}, FAILED, Rules(timeout=1))
    assert time.monotonic() - began < 10
    assert told[0].message == "Slack did not answer within 1s"
    assert "no answer in time" in (told[1].message or "")


def test_a_mail_server_that_never_stops_talking_is_left(smtp: dict[str, str]):
    """Its responses are not kept."""
    with RawServer([[b"220-" + b"x" * 500 + b"\r\n"] * 100_000], hears_first=False) as mail:
        (told,) = notify([MAIL], {"smtp": smtp | {"port": str(mail.port)}}, FAILED)
    assert "did not accept the message" in (told.message or "")
