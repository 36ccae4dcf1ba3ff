"""Notifications of runs whose runner did not report, to a real HTTP server."""

import base64
import json
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.ports import free_port
from refresh_api.model import time_text
from support.operator_harness import WAREHOUSE, OperatorHarness
from support.receivers import Alerts, Checking, Incidents
from support.webserver import WebServer

WEBHOOK = "/services/T0/B0/geheim"


@pytest.fixture
def slack() -> Iterator[WebServer]:
    """A webhook in place of Slack's."""
    with WebServer() as server:
        yield server


@pytest.fixture(scope="module")
def telling(create_operator: Callable[..., OperatorHarness]) -> OperatorHarness:
    """An operator with the Secrets of both channels. Nothing listens at the mail server's address."""
    operator = create_operator(NOTIFICATION_WINDOW="12s", RUN_URL_TEMPLATE="https://runs.example/{namespace}/{name}/{run}")
    operator.create_secret("slack", {"url": "http://127.0.0.1:9"})
    mail = {"host": "127.0.0.1", "port": str(free_port()), "from": "refresh@sigeti.local", "security": "none", "password": "mailgeheim"}
    operator.create_secret("smtp", mail)
    operator.start()
    return operator


@pytest.fixture
def operator(telling: OperatorHarness, slack: WebServer) -> OperatorHarness:
    """The same operator with this test's webhook."""
    url = base64.b64encode((slack.url + WEBHOOK).encode()).decode()
    telling.api.patch(telling.namespace, "secrets", "slack", {"data": {"url": url}})
    return telling


@pytest.mark.slow
def test_a_run_without_a_report_is_notified_once(operator, slack):
    """The notification has reason, revision and link. A restarted operator does not repeat it. A failed channel causes an event."""
    operator.create_refresh("silent", token="one", retries=0)
    job = operator.wait_for_job("silent")
    project = {"url": "https://git.example.org/velos", "path": ".", "revision": "main@sha1:" + "6e27e9a9" * 5}
    operator.report_run("silent", job, phase="Running", outcome=None, reason=None, completionTime=None, project=project)
    operator.end_pod(job, 137, reason="OOMKilled")
    operator.wait_for_history("silent", job)
    operator.wait_for(lambda: len(slack.asked) == 1, 10, "silent")
    told = json.loads(slack.asked[0].body)
    assert told["channel"] == "#phase2-alerts"
    assert "OOMKilled" in told["text"]
    assert "Revision of the project: main@6e27e9a9" in told["text"]
    assert f"https://runs.example/{operator.namespace}/silent/{job}" in told["text"]
    failed = operator.wait_for(lambda: dict(operator.events("silent")).get("NotificationFailed"), 20, "silent")
    assert "admin@sigeti.local" in failed
    operator.stop(signal.SIGKILL)
    operator.patch_spec("silent", displayName="Touched")
    operator.start()
    operator.wait_for(lambda: operator.status("silent")["observedGeneration"] == 2, 20, "silent")
    assert len(slack.asked) == 1
    everything = operator.log.read_text() + json.dumps(operator.get_refresh("silent")) + str(operator.events("silent"))
    assert not any(secret in everything for secret in ("geheim", "mailgeheim"))


def test_a_run_that_reported_is_notified_by_its_runner(operator, slack):
    """Even if its channels failed, which the runner has recorded. The control is a run without a report."""
    operator.create_refresh("told", token="one", retries=0)
    job = operator.wait_for_job("told")
    sent = [{"channel": "#phase2-alerts", "sent": False, "message": "Slack answered 500"}]
    operator.report_run("told", job, outcome="Failed", reason="LayerFailed", message="no such column", notifications=sent)
    operator.end_pod(job, 1)
    operator.wait_for_history("told", job)
    operator.request_run("told", "two")
    following = operator.wait_for_job("told")
    operator.end_pod(following, 1)
    operator.wait_for_history("told", following)
    operator.wait_for(lambda: len(slack.asked) == 1, 10, "told")
    assert following in slack.asked[0].body


def test_a_recovery_is_notified_once(operator, slack):
    """By the operator, which alone knows the runs before. A restarted operator does not repeat it, and neither does the next good run."""
    webhook = {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}
    operator.create_refresh("back", token="one", retries=0, notifications=[{"slack": webhook, "when": ["Recovered"]}])
    sent = [{"channel": "#phase2-alerts", "sent": True}]
    for number, token in enumerate(("one", "two", "three", "four")):
        if number:
            operator.request_run("back", token)
        job = operator.wait_for_job("back")
        if number < 2:
            operator.report_run("back", job, outcome="Failed", reason="LayerFailed", message="no such column", notifications=sent)
        else:
            operator.report_run("back", job, message="12 models built")
        operator.end_pod(job, 1 if number < 2 else 0)
        operator.wait_for_history("back", job)
        if number == 1:
            assert operator.status("back")["failingSince"] == operator.status("back")["history"][1]["completionTime"]
            assert slack.asked == []
        if number == 2:
            operator.wait_for(lambda: len(slack.asked) == 1, 10, "back")
            assert job in slack.asked[0].body
            operator.stop(signal.SIGKILL)
            operator.patch_spec("back", displayName="Touched")
            operator.start()
            operator.wait_for(lambda: operator.status("back")["observedGeneration"] == 2, 20, "back")
    assert "failingSince" not in operator.status("back")
    assert [json.loads(asked.body)["text"].splitlines()[0] for asked in slack.asked] == ["*✓ Phase 2 refresh recovered*"]


@pytest.mark.slow
def test_stale_data_are_notified_once_and_so_are_fresh_data(operator, slack):
    """By time alone: no run fails. A restarted operator repeats nothing. A channel that does not want it is not told."""
    webhook = {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}
    other = {"channel": "#others", "webhookSecretRef": {"name": "slack", "key": "url"}}
    channels = [{"slack": webhook, "when": ["Stale"]}, {"slack": other, "when": ["Failed", "Recovered"]}]
    operator.create_refresh("aged", token="one", freshness={"maxStaleness": "4s"}, notifications=channels)
    operator.end_pod(operator.wait_for_job("aged"))
    operator.wait_for(lambda: len(slack.asked) == 1, 30, "aged")
    operator.stop(signal.SIGKILL)
    operator.patch_spec("aged", displayName="Touched")
    operator.start()
    operator.wait_for(lambda: operator.status("aged")["observedGeneration"] == 2, 20, "aged")
    assert len(slack.asked) == 1
    operator.request_run("aged", "two")
    operator.end_pod(operator.wait_for_job("aged"))
    operator.wait_for(lambda: len(slack.asked) == 3, 30, "aged")
    told = [json.loads(asked.body) for asked in slack.asked]
    assert [each["text"].splitlines()[0].strip("*") for each in told] == [
        "⚠ Phase 2 refresh has stale data",
        "✓ Touched refresh has fresh data again",
        "⚠ Touched refresh has stale data",
    ]
    assert {each["channel"] for each in told} == {"#phase2-alerts"}


@pytest.mark.slow
def test_a_missed_run_is_notified_once_and_so_is_the_next_that_starts(operator, slack):
    """A restarted operator repeats nothing. The control is a suspended refresh, which misses the same runs and notifies nobody."""
    incidents = Incidents()
    with Checking(incidents) as server:
        operator.create_secret("missed-pages", {"key": "0123456789abcdef0123456789abcdef"})
        paged = {"routingKeySecretRef": {"name": "missed-pages", "key": "key"}, "url": f"{server.url}/v2/enqueue"}
        webhook = {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}
        channels = [{"slack": webhook, "when": ["Missed"]}, {"pagerDuty": paged, "when": ["Missed"]}]
        due = datetime.now(UTC) - timedelta(minutes=20)
        for name, suspend in (("late", False), ("asleep", True)):
            operator.create_refresh(name, schedule=f"{due.minute} * * * *", suspend=suspend, notifications=channels)
            operator.wait_for(lambda name=name: "missedRunsEvaluatedUntil" in operator.status(name), 20, name)
        operator.stop()
        for name in ("late", "asleep"):
            # as if the CronJob controller and the operator had been down for two hours
            until = {"missedRunsEvaluatedUntil": time_text(due - timedelta(minutes=90))}
            operator.api.patch(operator.namespace, "dashboardrefreshes", name, {"status": until}, status=True)
        operator.start()
        operator.wait_for(lambda: len(slack.asked) == 1, 20, "late")
        first = time_text((due - timedelta(minutes=60)).replace(second=0, microsecond=0))
        assert f"no run started at {first}" in slack.asked[0].body
        assert (operator.status("late")["missedRuns"], operator.status("late")["missedSince"]) == (2, first)
        operator.wait_for(lambda: len(incidents.open) == 1, 10, "late")
        operator.stop(signal.SIGKILL)
        for name in ("late", "asleep"):
            operator.patch_spec(name, displayName="Touched")
        operator.start()
        for name in ("late", "asleep"):
            operator.wait_for(lambda name=name: operator.status(name)["observedGeneration"] == 2, 20, name)
        assert len(slack.asked) == 1
        assert operator.status("asleep")["missedRuns"] == 2
        assert incidents.opened == 1
        operator.patch_spec("late", schedule="* * * * *")
        operator.wait_for_job("late", 90)
        operator.wait_for(lambda: len(slack.asked) == 2, 40, "late")
        operator.wait_for(lambda: not incidents.open, 10, "late")
        assert "Touched refresh is on schedule again" in slack.asked[1].body
        operator.api.delete(operator.namespace, "dashboardrefreshes", "late")


def test_incidents_and_alerts_are_resolved_by_a_recovery(telling):
    """Without being asked for in `when`. The failure is that of a run without a report; the runs after it fail and succeed."""
    incidents, alerts, key = Incidents(), Alerts(), "0123456789abcdef0123456789abcdef"
    with Checking(incidents, alertmanager=alerts) as server:
        telling.create_secret("pagerduty", {"key": key})
        telling.create_secret("alertmanager", {"url": f"{server.url}/alertmanager"})
        channels = [
            {"pagerDuty": {"routingKeySecretRef": {"name": "pagerduty", "key": "key"}, "url": f"{server.url}/v2/enqueue"}},
            {"alertmanager": {"secretRef": {"name": "alertmanager"}}},
        ]
        telling.create_refresh("paged", token="one", retries=0, notifications=channels)
        for number, token in enumerate(("one", "two", "three")):
            if number:
                telling.request_run("paged", token)
            job = telling.wait_for_job("paged")
            if number == 2:
                assert (len(incidents.open), len(alerts.firing())) == (1, 1)
                telling.report_run("paged", job)
            telling.end_pod(job, 0 if number == 2 else 137, reason="OOMKilled")
            telling.wait_for_history("paged", job)
            telling.wait_for(lambda number=number: len(server.asked) == 2 * (number + 1), 20, "paged")
        telling.wait_for(lambda: not incidents.open and not alerts.firing(), 10, "paged")
    assert incidents.opened == 1
    everything = telling.log.read_text() + json.dumps(telling.get_refresh("paged")) + str(telling.events("paged"))
    assert key not in everything


def started(operator: OperatorHarness, names: str, token: str) -> dict[str, str]:
    """Request runs and return their Jobs, once the operator has recorded them."""
    for name in names:
        operator.request_run(name, token)
    jobs = {name: operator.wait_for_job(name) for name in names}
    for name, job in jobs.items():
        operator.wait_for(lambda name=name, job=job: job in str(operator.status(name).get("active")), 20, name)
    return jobs


def end(operator: OperatorHarness, name: str, job: str, **report: Any) -> None:
    """Let a run end as its runner reports."""
    operator.report_run(name, job, **report)
    operator.end_pod(job, 1 if report else 0)


def subjects(slack: WebServer) -> list[str]:
    return [json.loads(asked.body)["text"].splitlines()[0].strip("*") for asked in slack.asked]


def recovered(slack: WebServer) -> str:
    """Return the refreshes of all messages about recoveries, by display name between bars."""
    texts = [json.loads(asked.body)["text"] for asked in slack.asked]
    return "".join(f"|{name}|" for text in texts for name in re.findall(r"^(?:\*✓ |- )(Refresh \w)(?: refresh|,)", text, re.MULTILINE))


@pytest.mark.slow
def test_refreshes_that_fail_for_one_cause_are_told_together(operator, slack):
    """The first at once, the others in one message, also by an operator that was killed before; so are their recoveries.

    The controls are a refresh with another warehouse, and one that failed by itself: both are told at once.
    """
    operator.create_secret("other-warehouse", WAREHOUSE)
    webhook = {"channel": "#phase2-alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}
    channels = [{"slack": webhook, "when": ["Failed", "Recovered"]}]
    for name in "abcdef":
        secret = "other-warehouse" if name == "e" else "warehouse"
        other = {"warehouse": {"secretRef": {"name": secret}}, "displayName": f"Refresh {name}", "notifications": channels}
        operator.create_refresh(name, retries=0, **other)
    away: dict[str, Any] = {"outcome": "Failed", "reason": "WarehouseUnreachable", "message": "cannot connect to db:5432: refused"}
    away |= {"leftToOperator": True}
    jobs = started(operator, "abcdef", "one")
    end(operator, "a", jobs["a"], **away)
    operator.wait_for(lambda: len(slack.asked) == 1, 10, "a")
    for name in "bcde":
        end(operator, name, jobs[name], **away)
    end(operator, "f", jobs["f"], outcome="Failed", reason="LayerFailed", message="no such column")
    operator.wait_for(lambda: len(slack.asked) == 3 and all("sharedFailure" in operator.status(name) for name in "bcd"), 10, "b")
    assert not any("notifiedTime" in operator.status(name)["sharedFailure"] for name in "bcd"), "the preparations took too long"
    operator.stop(signal.SIGKILL)
    assert subjects(slack)[0] == "✗ Refresh a refresh failed: WarehouseUnreachable"
    assert sorted(subjects(slack)[1:]) == ["✗ Refresh e refresh failed: WarehouseUnreachable", "✗ Refresh f refresh failed: LayerFailed"]
    operator.start()
    operator.wait_for(lambda: len(slack.asked) == 4, 30, "b")
    assert subjects(slack)[3] == "✗ 3 refreshes failed: warehouse of Secret warehouse"
    assert all(f"Refresh {name}, {name} (https://runs.example/" in slack.asked[3].body for name in "bcd")
    assert "cannot connect to db:5432: refused" in slack.asked[3].body
    operator.wait_for(lambda: all("notifiedTime" in operator.status(name)["sharedFailure"] for name in "abcde"), 10, "b")
    slack.asked.clear()
    for name, job in started(operator, "abcd", "two").items():
        end(operator, name, job)
    operator.wait_for(lambda: all(f"|Refresh {name}|" in recovered(slack) for name in "abcd"), 30, "b")
    assert (len(slack.asked), sorted(recovered(slack).strip("|").split("||"))) == (2, [f"Refresh {name}" for name in "abcd"])
    assert subjects(slack)[1].startswith("✓ ")
    everything = operator.log.read_text() + "".join(
        json.dumps(operator.get_refresh(name)) + str(operator.events(name)) for name in "abcdef"
    )
    assert "geheim" not in everything


@pytest.mark.slow
def test_failures_in_quiet_hours_are_notified_when_they_end(operator, slack):
    """Those that are not over, in one message, also by an operator that was killed before. The control is a channel without quiet hours."""
    now = datetime.now(UTC)
    until = (now + timedelta(seconds=100)).replace(second=0, microsecond=0)
    quiet = [{"start": f"{now - timedelta(minutes=5):%H:%M}", "end": f"{until:%H:%M}"}]
    webhook = {"channel": "#quiet", "webhookSecretRef": {"name": "slack", "key": "url"}}
    loud = {"slack": {**webhook, "channel": "#loud"}, "when": ["Failed"]}
    channels = [{"slack": webhook, "when": ["Failed", "Recovered"], "quietHours": quiet}, loud]
    names = ("one", "two", "over")
    for name in names:
        operator.create_refresh(name, token="1", retries=0, displayName=name, timeZone="Etc/UTC", notifications=channels)
    for name in names:
        job = operator.wait_for_job(name)
        operator.report_run(name, job, outcome="Failed", reason="LayerFailed", message="no such column")
        operator.end_pod(job, 1)
        operator.wait_for_history(name, job)
    operator.request_run("over", "2")
    job = operator.wait_for_job("over")
    operator.report_run("over", job)
    operator.end_pod(job)
    operator.wait_for_history("over", job)
    operator.wait_for(lambda: len(slack.asked) == 3, 10, "one")
    assert {json.loads(asked.body)["channel"] for asked in slack.asked} == {"#loud"}
    operator.stop(signal.SIGKILL)
    assert datetime.now(UTC) < until, "the preparations took too long"
    operator.start()
    operator.wait_for(lambda: len(slack.asked) == 4, 130, "one")
    assert datetime.now(UTC) >= until
    told = json.loads(slack.asked[3].body)
    assert (told["channel"], told["text"].splitlines()[0].strip("*")) == ("#quiet", "✗ 2 refreshes failed: during quiet hours")
    assert all(f"- {name} (https://runs.example/" in told["text"] for name in ("one", "two"))
    handled = time_text(until)
    operator.wait_for(lambda: all(operator.status(name)["quietHoursHandledUntil"] == handled for name in names), 20, "one")
    operator.patch_spec("one", displayName="Touched")
    operator.wait_for(lambda: operator.status("one")["observedGeneration"] == 2, 20, "one")
    assert len(slack.asked) == 4
