"""People are told of runs that died without a word, by the operator, to a server that really listens; never of others, never twice."""

import base64
import json
import signal
from collections.abc import Callable, Iterator

import pytest

from cluster.ports import free_port
from support.place import Place
from support.webserver import WebServer

WEBHOOK = "/services/T0/B0/geheim"


@pytest.fixture
def slack() -> Iterator[WebServer]:
    """Slack's end of a webhook."""
    with WebServer() as server:
        yield server


@pytest.fixture(scope="module")
def telling(places: Callable[..., Place]) -> Place:
    """A place with the Secrets of both channels; at the mail server's address nobody listens."""
    place = places(RUN_URL_TEMPLATE="https://runs.example/{namespace}/{name}/{run}")
    place.secret("slack", {"url": "http://127.0.0.1:9"})
    mail = {"host": "127.0.0.1", "port": str(free_port()), "from": "refresh@sigeti.local", "security": "none", "password": "mailgeheim"}
    place.secret("smtp", mail)
    place.start()
    return place


@pytest.fixture
def place(telling: Place, slack: WebServer) -> Place:
    """The same with this test's webhook."""
    url = base64.b64encode((slack.url + WEBHOOK).encode()).decode()
    telling.api.patch(telling.namespace, "secrets", "slack", {"data": {"url": url}})
    return telling


def test_a_run_that_died_without_a_word_is_told_once(place, slack):
    """With its reason and the link; a restarted operator does not tell again, and the channel that failed shows as an event."""
    place.refresh("silent", token="one", retries=0)
    job = place.run_of("silent")
    place.end(job, 137, reason="OOMKilled")
    place.concluded("silent", job)
    place.until(lambda: len(slack.asked) == 1, 10, "silent")
    told = json.loads(slack.asked[0].body)
    assert told["channel"] == "#phase2-alerts"
    assert "OOMKilled" in told["text"]
    assert f"https://runs.example/{place.namespace}/silent/{job}" in told["text"]
    failed = place.until(lambda: dict(place.events("silent")).get("NotificationFailed"), 20, "silent")
    assert "admin@sigeti.local" in failed
    place.stop(signal.SIGKILL)
    place.edit("silent", title="Touched")
    place.start()
    place.until(lambda: place.status("silent")["observedGeneration"] == 2, 20, "silent")
    assert len(slack.asked) == 1
    everything = place.log.read_text() + json.dumps(place.seen("silent")) + str(place.events("silent"))
    assert not any(secret in everything for secret in ("geheim", "mailgeheim"))


def test_a_run_that_reported_is_left_to_its_runner(place, slack):
    """Also when its channels failed: the runner has recorded that. The control: a death after it is told."""
    place.refresh("told", token="one", retries=0)
    job = place.run_of("told")
    sent = [{"channel": "#phase2-alerts", "sent": False, "message": "Slack answered 500"}]
    place.report("told", job, outcome="Failed", reason="LayerFailed", message="no such column", notifications=sent)
    place.end(job, 1)
    place.concluded("told", job)
    place.request("told", "two")
    following = place.run_of("told")
    place.end(following, 1)
    place.concluded("told", following)
    place.until(lambda: len(slack.asked) == 1, 10, "told")
    assert following in slack.asked[0].body
