"""Who is notified of a failed run. No notification contains a secret."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, quote_plus

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from cluster.ports import free_port
from refresh_api.status import Outcome, Reason
from refresh_runner.postgres.advisory_lock import NAMESPACE, WAREHOUSE_KEY
from support.eventually import eventually
from support.runner_harness import SLOWNESS, Json, RunnerHarness, in_background
from support.webserver import WebServer

PASSWORD = "p%40:/'\"$"
FORMS = [
    PASSWORD,
    repr(PASSWORD)[1:-1],
    json.dumps(PASSWORD)[1:-1],
    quote(PASSWORD, safe=""),
    quote_plus(PASSWORD),
    "T000/B000/hook-secret",
]
NOTIFICATIONS = [
    {"slack": {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}},
    {"email": {"to": ["admin@sigeti.local"], "smtpSecretRef": {"name": "smtp"}}},
]


@dataclass
class Told:
    """The messages received by mail and by webhook."""

    slack: WebServer
    mails: list[Envelope]

    def texts(self) -> list[str]:
        """Return every message."""
        return [asked.body for asked in self.slack.asked] + [str(mail.content) for mail in self.mails]


@pytest.fixture
def told(runner: RunnerHarness) -> Iterator[Told]:
    """A real webhook and mail server, with their Secrets mounted."""
    mails: list[Envelope] = []

    class Handler:
        async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (the library's name)
            mails.append(envelope)
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=free_port())
    controller.start()
    with WebServer() as slack:
        runner.secrets["slack"] = {"url": f"{slack.url}/T000/B000/hook-secret"}
        runner.secrets["smtp"] = {"host": "127.0.0.1", "port": str(controller.port), "from": "refresh@sigeti.local", "security": "none"}
        yield Told(slack, mails)
    controller.stop()


def spec(runner: RunnerHarness) -> Json:
    return runner.spec(notifications=NOTIFICATIONS)


def test_a_run_whose_time_is_up_tells_the_cause_and_the_step(runner: RunnerHarness, told: Told):
    """The notification is sent within the pod's grace period."""
    runner.database.run("update src.lignes set nap = 60 where id = 1")
    began = time.monotonic()
    limit = 6 * SLOWNESS
    ran = runner.run({**spec(runner), "timeout": f"{limit}s"}, failures=2)
    assert time.monotonic() - began < limit + 30
    assert ran.termination_message is not None
    assert ran.termination_message.reason is Reason.DEADLINE_EXCEEDED
    assert len(told.slack.asked) == len(told.mails) == 1
    assert all(f"timed out after {limit}s: stopped during 2/6 facts" in text for text in told.texts())


def test_a_failed_run_tells_slack_and_mail(runner: RunnerHarness, told: Told):
    """The message has step, model and error. The control: a successful run before it notifies nobody."""
    assert runner.run(spec(runner)).code == 0
    assert told.texts() == []
    runner.database.run("alter table src.lignes rename column mois to autre")
    ran = runner.run(spec(runner))
    assert len(told.slack.asked) == len(told.mails) == 1
    for text in told.texts():
        assert "1/6 staging" in text
        assert "stg_lignes" in text
        assert "does not exist" in text
        assert f"logs job/petit-{runner.run_count}" in text
    assert ran.termination_message is not None
    assert ran.termination_message.notified


def test_the_link_is_made_from_the_template(runner: RunnerHarness, told: Told):
    """The link replaces the commands."""
    runner.database.run("truncate src.lignes")
    runner.run(spec(runner), RUN_URL_TEMPLATE="https://runs.example/{namespace}/{name}/{run}")
    for text in told.texts():
        assert f"https://runs.example/essai/petit/petit-{runner.run_count}" in text


def test_an_attempt_that_another_one_follows_tells_nobody(runner: RunnerHarness, told: Told):
    """Only the last attempt notifies people."""
    runner.secrets["warehouse"]["port"] = str(free_port())
    assert runner.run(spec(runner)).code == 75
    assert told.texts() == []
    assert runner.run(spec(runner), failures=2).code == 1
    assert len(told.texts()) == 2


def test_a_channel_that_is_away_does_not_change_the_result(runner: RunnerHarness, told: Told):
    """The failure is in the log, and the other channel is notified."""
    told.slack.statuses["/T000/B000/hook-secret"] = 500
    runner.database.run("truncate src.lignes")
    ran = runner.run(spec(runner))
    assert ran.code == 1
    assert "#phase2-alerts could not be notified: Slack answered 500" in ran.messages
    assert len(told.mails) == 1


@pytest.mark.parametrize("fault", ["none", "warehouse away", "wrong port for slack", "broken model"])
def test_no_secret_is_in_anything_that_leaves_the_runner(runner: RunnerHarness, told: Told, fault: str):
    """Neither in its output and errors, nor in its termination message, messages, files and log rows. The control: the password works."""
    if fault == "warehouse away":
        runner.secrets["warehouse"]["port"] = str(free_port())
    elif fault == "wrong port for slack":
        runner.secrets["slack"]["url"] = f"http://127.0.0.1:{free_port()}/T000/B000/hook-secret"
        runner.database.run("truncate src.lignes")
    elif fault == "broken model":
        # The model's error quotes the password, as that of a careless model might.
        fails = "raise exception 'can''t log in with %', $p$" + PASSWORD + "$p$;"
        runner.database.run(f"create function src.zut() returns int language plpgsql as $f$ begin {fails} end $f$")
        runner.database.run(
            "alter table src.lignes rename to vraies; create view src.lignes as select id, zone, src.zut() as mois, nap from src.vraies"
        )
    ran = runner.wait_for_exit(runner.start_process(spec(runner), failures=2), within=60)
    assert ran.code == (0 if fault == "none" else 1), ran.output
    kept = [
        path.read_text(errors="replace") for path in (runner.folder / "workdir").rglob("*") if path.is_file() and path.suffix != ".msgpack"
    ]
    rows = [] if fault == "warehouse away" else [str(runner.log_rows())]
    left = "\n".join([ran.output, (runner.folder / "termination-log").read_text(), *told.texts(), *kept, *rows])
    assert [form for form in FORMS if form in left] == []


def test_a_slow_channel_does_not_hold_the_warehouse(runner: RunnerHarness, told: Told):
    """While Slack has not yet responded, another pipeline can acquire the lock. The run then ends as usual."""
    told.slack.slow.add("/T000/B000/hook-secret")
    runner.database.run("alter table src.lignes rename column mois to autre")
    free: list[object] = []

    def look() -> None:
        eventually(lambda: told.slack.asked, within=30 * SLOWNESS)
        free.extend(runner.database.rows(f"select pg_try_advisory_lock({NAMESPACE}, {WAREHOUSE_KEY})"))
        told.slack.wake()

    with in_background(look):
        ran = runner.run(spec(runner))
    assert free == [(True,)]
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.outcome) == (1, Outcome.FAILED)
    assert len(runner.log_rows()) == 1


def test_a_run_with_warnings_tells_the_channels_that_want_it(runner: RunnerHarness, told: Told):
    """The channel that wants to know of failures alone is not told."""
    slack, mail = NOTIFICATIONS
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = runner.run(runner.spec(notifications=[{**slack, "when": ["Failed", "Warned"]}, mail]))
    assert ran.termination_message is not None
    assert (ran.termination_message.outcome, ran.termination_message.notified) == (Outcome.WARNED, True)
    assert (len(told.slack.asked), told.mails) == (1, [])
    assert "⚠ " in json.loads(told.slack.asked[0].body)["text"]


def test_a_success_tells_the_channels_that_want_it(runner: RunnerHarness, told: Told):
    """So that what reads the marts may start. Not if nothing has changed, and not the other channel."""
    slack, mail = NOTIFICATIONS
    channels = [{**slack, "when": ["Succeeded"]}, mail]
    made = runner.spec(notifications=channels, unchangedPolicy="Skip")
    for minute in (29_400_001, 29_400_002):
        assert runner.run(made, RUN_ID=f"petit-{minute}").code == 0
    assert len(told.slack.asked) == 1
    assert json.loads(told.slack.asked[0].body)["text"].startswith("*✓ Petit refresh succeeded*")
    assert "petit-29400001" in told.slack.asked[0].body
    assert told.mails == []


def test_a_success_in_quiet_hours_notifies_nobody(runner: RunnerHarness, told: Told):
    """A failure does: without an operator, nobody else would. A test message is sent, too."""
    slack, mail = NOTIFICATIONS
    at = datetime.now(UTC)
    quiet = {"quietHours": [{"start": f"{at - timedelta(hours=1):%H:%M}", "end": f"{at + timedelta(hours=1):%H:%M}"}]}
    made = runner.spec(notifications=[{**slack, **quiet, "when": ["Succeeded", "Failed"]}, mail], timeZone="Etc/UTC")
    assert runner.run(made).code == 0
    assert told.texts() == []
    assert runner.run(made, mode="notify").code == 0
    assert (len(told.slack.asked), len(told.mails)) == (1, 1)
    runner.database.run("truncate src.lignes")
    assert runner.run(made).code == 1
    assert (len(told.slack.asked), len(told.mails)) == (2, 2)


def test_a_test_of_notifications_builds_nothing_and_needs_no_warehouse(runner: RunnerHarness, told: Told):
    """Each channel gets a message, and a channel that refuses it is named. Control: the same warehouse fails a run with another mode."""
    runner.secrets["warehouse"]["port"] = str(free_port())
    told.slack.statuses["/T000/B000/hook-secret"] = 403
    ran = runner.run(spec(runner), failures=2, mode="notify")
    words = ran.termination_message
    assert words is not None
    assert (ran.code, words.outcome, words.reason) == (0, Outcome.SKIPPED, Reason.NOTIFICATIONS_TESTED)
    assert words.message == "1 of 2 channels accepted the test message; #phase2-alerts: Slack answered 403"
    assert [len(told.slack.asked), len(told.mails)] == [1, 1]
    assert "Nothing has failed" in told.slack.asked[0].body
    assert runner.run(spec(runner), failures=2).code == 1
