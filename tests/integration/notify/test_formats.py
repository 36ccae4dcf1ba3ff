"""Each channel's format, to servers that reject what the real ones would reject."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cluster.ports import free_port
from refresh_api.channels import MESSAGE_FIELDS
from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.status import NotificationStatus
from refresh_notify import NotifiedRun, Rules, message_for, notify
from support import receivers
from support.rawserver import RawServer, http
from support.snapshots import ROOT
from support.webserver import WebServer

LINK = "https://runs.example/{namespace}/{name}/{run}"
FAILED = NotifiedRun(
    "phase2",
    "default",
    "Phase 2",
    "phase2-1",
    "LayerFailed",
    "mart_a: column does not exist",
    step="3/6 marts",
    uid="u-1",
    link_template=LINK,
)
RECOVERED = replace(
    FAILED,
    run="phase2-2",
    reason="Succeeded",
    message="12 models built",
    step=None,
    when=NotifyWhen.RECOVERED,
    failing_since=datetime(2026, 3, 3, tzinfo=UTC),
)
STALE = replace(
    FAILED, run=None, reason="Stale", message="the last successful run finished at 05:30", step=None, marts=None, when=NotifyWhen.STALE
)
MISSED = replace(STALE, reason="ControllerDown", message="no run started at 06:00", when=NotifyWhen.MISSED)
HOSTILE = "<!channel> <users/all> [the run](http://evil.example) <a href='http://evil.example'>x</a> @here **b** \x1b[2J\u202e"
KEY = "0123456789abcdef0123456789abcdef"
BY_KEY = {"webhookSecretRef": {"name": "hook", "key": "url"}}
CHANNELS: dict[str, dict[str, Any]] = {
    "slack": {"channel": "#alerts", **BY_KEY},
    "teams": BY_KEY,
    "googleChat": BY_KEY,
    "alertmanager": {"secretRef": {"name": "hook"}, "labels": {"cluster": "eu-1"}},
    "webhook": {"secretRef": {"name": "hook"}},
}
NAMES = {"slack": "Slack", "teams": "Teams", "googleChat": "Google Chat", "alertmanager": "Alertmanager", "webhook": "the webhook"}
FORMATS: list[tuple[str, receivers.Receiver]] = [
    ("slack", receivers.mattermost),
    ("slack", receivers.rocket_chat),
    ("teams", receivers.teams),
    ("googleChat", receivers.google_chat),
]


def notification(kind: str, **more: Any) -> Notification:
    return Notification.model_validate({kind: {**CHANNELS[kind], **more}})


def told(to: Notification, url: str, run: NotifiedRun = FAILED, secret: dict[str, str] | None = None, **rules: Any) -> NotificationStatus:
    """Notify one channel."""
    (answer,) = notify([to], {"hook": {"url": url, **(secret or {})}}, run, Rules(**rules))
    return answer


def pager_duty(server: WebServer) -> Notification:
    return Notification.model_validate(
        {"pagerDuty": {"routingKeySecretRef": {"name": "pd", "key": "key"}, "url": f"{server.url}/v2/enqueue"}}
    )


@pytest.mark.parametrize(("kind", "receiver"), FORMATS, ids=["mattermost", "rocket.chat", "teams", "google chat"])
def test_a_message_is_accepted_with_its_texts(kind: str, receiver: receivers.Receiver):
    """Also one whose error is long and has many lines. The control: the receiver rejects what is no message."""
    assert receiver({"text": 5, "type": "x"}) == 400
    with receivers.Checking(receiver) as server:
        answer = told(notification(kind), f"{server.url}/hook/geheim")
        assert answer.sent, answer.message
        assert told(notification(kind), f"{server.url}/hook/geheim", replace(FAILED, message="é\n" * 1500, hint="😀" * 400)).sent
        assert told(Notification.model_validate({kind: CHANNELS[kind], "when": ["Stale"]}), f"{server.url}/hook/geheim", STALE).sent
    assert "the last successful run finished at 05:30" in server.asked[2].body
    assert "mart_a: column does not exist" in server.asked[0].body
    assert "3/6 marts" in server.asked[0].body
    assert "https://runs.example/default/phase2/phase2-1" in server.asked[0].body


@pytest.mark.parametrize(("kind", "receiver"), FORMATS[2:], ids=["teams", "google chat"])
def test_a_row_that_is_quoted_is_only_text(kind: str, receiver: receivers.Receiver):
    """Teams gets text runs, which have no Markdown and no mentions. Google Chat gets HTML, which is escaped; cards mention nobody."""
    with receivers.Checking(receiver) as server:
        assert told(notification(kind), server.url, replace(FAILED, message=HOSTILE)).sent
    body = json.loads(server.asked[0].body)
    assert not any(each in server.asked[0].body for each in ("\\u001b", "\u202e"))
    if kind == "googleChat":
        (text,) = [
            widget["textParagraph"]["text"] for widget in body["cardsV2"][0]["card"]["sections"][0]["widgets"] if "textParagraph" in widget
        ]
        assert "<" not in text.replace("<br>", "")
        assert "text" not in body
    else:
        (card,) = [each["content"] for each in body["attachments"]]
        assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
        assert "entities" not in json.dumps(card)


def test_pagerduty_has_one_incident_per_refresh_that_a_recovery_resolves():
    """A second failure opens no second one; another refresh has its own. The recovery is sent without being asked for in `when`."""
    incidents = receivers.Incidents()
    with receivers.Checking(incidents) as server:
        to, secrets = pager_duty(server), {"pd": {"key": KEY + "\n"}}

        def send(run: NotifiedRun) -> NotificationStatus:
            (answer,) = notify([to], secrets, run)
            return answer

        assert [send(FAILED).sent, send(replace(FAILED, run="phase2-9")).sent, send(replace(FAILED, refresh="other", uid="u-2")).sent] == [
            True
        ] * 3
        assert (incidents.opened, len(incidents.open)) == (2, 2)
        assert send(RECOVERED).sent
        assert list(incidents.open) == [(KEY, "dashboard-refresh/u-2")]
        (refused,) = notify([to], {"pd": {"key": "no-such-key"}}, FAILED)
    assert (refused.channel, refused.message) == ("PagerDuty (pd/key)", "PagerDuty answered 400")
    event = json.loads(server.asked[0].body)
    assert (event["payload"]["severity"], event["links"][0]["href"]) == ("error", "https://runs.example/default/phase2/phase2-1")


@pytest.mark.parametrize(
    ("problem", "key", "alert"), [(STALE, "stale", "DashboardRefreshDataStale"), (MISSED, "missed", "DashboardRefreshRunMissed")]
)
def test_stale_data_and_missed_runs_are_incidents_and_alerts_of_their_own(problem: NotifiedRun, key: str, alert: str):
    """A recovery does not resolve them: a failed run and stale data may have different causes. Their own end does."""
    incidents, alerts = receivers.Incidents(), receivers.Alerts()
    with receivers.Checking(incidents, alertmanager=alerts) as server:
        to = {"when": ["Failed", problem.when.value]}
        paged = Notification.model_validate({**pager_duty(server).model_dump(by_alias=True, exclude_none=True), **to})
        fired = Notification.model_validate({"alertmanager": CHANNELS["alertmanager"], **to})
        secrets = {"pd": {"key": KEY}, "hook": {"url": f"{server.url}/alertmanager"}}
        for run in (FAILED, problem, RECOVERED):
            assert all(answer.sent for answer in notify([paged, fired], secrets, run, Rules(allow_http=True)))
        assert list(incidents.open) == [(KEY, f"dashboard-refresh/u-1/{key}")]
        assert [labels["alertname"] for labels in alerts.firing()] == [alert]
        assert all(answer.sent for answer in notify([paged, fired], secrets, replace(problem, is_over=True), Rules(allow_http=True)))
        assert (list(incidents.open), alerts.firing()) == ([], [])


def test_alertmanager_has_one_alert_per_refresh_that_a_recovery_resolves():
    """Its labels are those by which it is routed and resolved; what differs from run to run is in annotations."""
    alerts = receivers.Alerts()
    with receivers.Checking(alerts) as server:
        to = notification("alertmanager")
        assert told(to, f"{server.url}/prefix/", secret={"authorization": "Bearer geheim"}).sent
        assert told(to, server.url, replace(FAILED, run="phase2-9", reason="TestsFailed")).sent
        assert alerts.firing() == [
            {"alertname": "DashboardRefreshRunFailed", "cluster": "eu-1", "namespace": "default", "refresh": "phase2"}
        ]
        assert told(to, server.url, RECOVERED).sent
        assert alerts.firing() == []
    assert server.paths()[:2] == ["/prefix/api/v2/alerts", "/api/v2/alerts"]
    assert (server.asked[0].headers["Authorization"], "Authorization" in server.asked[1].headers) == ("Bearer geheim", False)


def test_a_webhook_gets_all_fields_or_the_body_of_the_spec():
    """Placeholders are replaced in texts after parsing, so that no message can add to the JSON. What is no placeholder stays."""
    body = {"title": "$event: ${refresh}", "n": [1, None, {"deep": "$message"}], "price": "$$5 $unknown", "$run": True}
    every = Notification.model_validate({"webhook": CHANNELS["webhook"], "when": list(NotifyWhen)})
    evil = replace(FAILED, message='", "admin": true, "x": "$run')
    with WebServer() as server:
        assert told(every, server.url, RECOVERED, {"authorization": "Bearer geheim"}).sent
        assert told(notification("webhook", body=body), server.url, evil).sent
    whole, own = (json.loads(asked.body) for asked in server.asked)
    assert tuple(whole) == MESSAGE_FIELDS
    assert (whole["event"], whole["failingSince"], whole["step"], whole["attempts"]) == ("Recovered", "2026-03-03T00:00:00Z", None, 1)
    assert server.asked[0].headers["Authorization"] == "Bearer geheim"
    assert own == {"title": "Failed: phase2", "n": [1, None, {"deep": evil.message}], "price": "$5 $unknown", "$run": True}


@pytest.mark.parametrize("run", [FAILED, RECOVERED, STALE], ids=["failed", "recovered", "stale"])
def test_a_cloud_event_is_read_by_the_sdk(run: NotifiedRun):
    """With all required attributes. Its data are the fields, or the body of the spec; one run and event have one id."""
    every = Notification.model_validate({"webhook": {**CHANNELS["webhook"], "format": "CloudEvents"}, "when": list(NotifyWhen)})
    own = Notification.model_validate({"webhook": {**CHANNELS["webhook"], "format": "CloudEvents", "body": {"why": "$event"}}})
    with WebServer() as server:
        assert told(every, server.url, run).sent
        assert told(own, server.url, FAILED).sent
    asked = server.asked[0]
    event = from_structured_event(HTTPMessage(dict(asked.headers), asked.body.encode()), JSONFormat())
    assert event.get_type() == f"io.sigeti.dashboards.refresh.{run.event.lower()}"
    assert (event.get_source(), event.get_subject()) == ("/namespaces/default/dashboardrefreshes/phase2", run.run)
    assert event.get_id().startswith(f"{run.run or 'phase2'}/{run.event}")
    assert json.loads(asked.body)["data"]["text"] == message_for(run).text
    assert json.loads(server.asked[1].body)["data"] == {"why": "Failed"}
    assert asked.headers["Content-Type"] == "application/cloudevents+json"


def test_a_signed_webhook_is_verified_by_the_library_of_standard_webhooks():
    """With the key in both spellings. The controls: another key, a changed body, and no key."""
    key = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    to = notification("webhook")
    with WebServer() as server:
        for spelling in (key, f"whsec_{key}"):
            assert told(to, server.url, replace(FAILED, message="é ☃"), {"signingKey": spelling}).sent
        assert told(to, server.url).sent
    for asked in server.asked[:2]:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        assert Webhook(key).verify(asked.body, headers)["message"] == "é ☃"
        with pytest.raises(WebhookVerificationError):
            Webhook(base64.b64encode(b"x" * 32).decode()).verify(asked.body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(asked.body.replace("phase2", "phase3"), headers)
    assert not any(name.lower().startswith("webhook-") for name in server.asked[2].headers)


@pytest.mark.parametrize("key", ["geheim", "not base64 !", base64.b64encode(b"too short").decode()])
def test_a_signing_key_that_is_none_is_named_and_nothing_is_sent(key: str):
    """Sending without a signature would be rejected, or believed."""
    with WebServer() as server:
        answer = told(notification("webhook"), server.url, secret={"signingKey": key})
    assert (answer.message or "").startswith("the Secret 'hook' has an invalid signingKey")
    assert key not in (answer.message or "")
    assert server.asked == []


def test_a_body_that_would_become_too_long_is_not_built():
    """It would take the memory of the operator. The control is a body with one placeholder less than too many."""
    many = {"a": "$text" * 30_000}
    with WebServer() as server:
        assert "could be longer than 256 KB" in (told(notification("webhook", body=many), server.url).message or "")
        assert server.asked == []
        assert told(notification("webhook", body={"a": "$text" * 300}), server.url).sent


@pytest.mark.parametrize("kind", ["teams", "googleChat", "alertmanager", "webhook"])
def test_errors_of_all_channels_quote_neither_url_nor_answer(kind: str):
    """As for Slack: redirects, refused addresses, plain HTTP, retries. The status names the Secret, not the address."""
    name = NAMES[kind]
    to = notification(kind)
    with RawServer([http(404, body=b"no such hook: geheim")]) as server:
        answer = told(to, f"{server.url}/hook/geheim")
    assert answer.message == f"{name} answered 404"
    assert "hook" in answer.channel
    with WebServer() as other, RawServer([http(302, Location=other.url)]) as server:
        assert told(to, f"{server.url}/hook/geheim").message == f"{name} answered 302"
        assert other.asked == []
    assert told(to, f"http://127.0.0.1:{free_port()}/geheim").message == f"{name} cannot be reached (ConnectError)"
    assert "its address is refused" in (told(to, "https://169.254.169.254/geheim", allow_http=True).message or "")
    plain = told(to, "http://10.0.0.1/geheim").message or ""
    assert plain == f"{name} is not called: the URL does not begin with https:// (see the chart value webhooks.allowHttp)"
    assert told(to, "hook/geheim").message == f"{name} is not called: not a valid URL, which must be one line that begins with https://"
    waited: list[float] = []
    with RawServer([http(429, Retry_After="2"), http(200)]) as server:
        assert told(to, server.url, sleep=waited.append).sent
    assert (len(server.heard), waited) == (2, [2.0])
    assert "does not exist or lacks the key 'url'" in (notify([to], {}, FAILED)[0].message or "")


def test_pagerduty_is_called_only_where_it_may_be():
    """Its address is in the spec, and the integration key in the body: neither goes to a metadata service, nor out in plain text."""
    at = {"routingKeySecretRef": {"name": "pd", "key": "key"}}
    for url, says in (("https://169.254.169.254/v2", "its address is refused"), ("http://10.0.0.1/v2", "does not begin with https://")):
        (answer,) = notify([Notification.model_validate({"pagerDuty": {**at, "url": url}})], {"pd": {"key": KEY}}, FAILED)
        assert says in (answer.message or "")


@pytest.mark.parametrize("kind", ["alertmanager", "webhook"])
def test_an_authorization_that_is_no_header_is_named_and_never_sent(kind: str):
    """A line break would add a header. The message does not quote it."""
    with WebServer() as server:
        answer = told(notification(kind), server.url, secret={"authorization": "Bearer a\r\nX-Evil: geheim"})
    assert (answer.message or "").endswith("authorization must be one line of ASCII")
    assert server.asked == []


def test_secrets_are_masked_in_every_channel():
    """An error may quote the authorization or the key. The control: the same text without the Secret is sent as it is."""
    quoting = replace(FAILED, message=f"rejected with Bearer s3cr3t-token and {KEY}", hint=f"use {KEY}")
    with WebServer() as server:
        for kind in CHANNELS:
            assert told(notification(kind), server.url, quoting, {"authorization": "Bearer s3cr3t-token", "key": KEY}).sent
            assert told(notification(kind), server.url, quoting).sent
    for masked, plain in zip(server.asked[::2], server.asked[1::2], strict=True):
        assert "s3cr3t-token" not in masked.body
        assert "s3cr3t-token" in plain.body


def test_the_guide_lists_all_fields_of_a_webhook():
    """They are a contract with servers that others write."""
    guide = (ROOT / "docs/notifications.md").read_text().partition("| `event` |")
    rows = [row.split("|")[1] for row in "".join(guide[1:]).partition("\n\n")[0].splitlines()]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(MESSAGE_FIELDS)


def test_a_test_message_reaches_every_channel_and_leaves_nothing_open():
    """Whatever `when` says. It neither resolves nor opens the incident of a failure, which is open before and after."""
    incidents, alerts = receivers.Incidents(), receivers.Alerts()
    test = replace(FAILED, reason="NotificationsTested", message="", is_test=True)
    with receivers.Checking(incidents, alertmanager=alerts) as server:
        secrets = {"pd": {"key": KEY}, "hook": {"url": f"{server.url}/alertmanager"}}
        every = [pager_duty(server), Notification.model_validate({"alertmanager": CHANNELS["alertmanager"], "when": ["Recovered"]})]
        assert all(each.sent for each in notify([pager_duty(server), notification("alertmanager")], secrets, FAILED))
        assert [each.sent for each in notify(every, secrets, test)] == [True, True]
    assert (incidents.opened, list(incidents.open)) == (2, [(KEY, "dashboard-refresh/u-1")])
    assert [labels["alertname"] for labels in alerts.firing()] == ["DashboardRefreshRunFailed", "DashboardRefreshNotificationTest"]
    with WebServer() as other:
        assert told(notification("webhook"), other.url, test).sent
        assert told(notification("slack"), other.url, test).sent
    assert json.loads(other.asked[0].body)["event"] == "Test"
    assert "Phase 2 refresh: test message" in other.asked[1].body
