"""What the API server answers, how its clock goes, and how much there is: the operator converges, and does no more than it has to."""

import json
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from support.apiserver import ApiServer
from support.faulty_api import FaultyApi
from support.place import REFRESHES, Place

SHIFTED = """
import sys
from datetime import datetime, timedelta
import refresh_operator.__main__ as program
class Shifted(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(minutes={minutes})
program.datetime = Shifted
sys.exit(program.main())
"""


def at_rest(place: Place) -> bool:
    before = versions(place)
    time.sleep(4)
    return before == versions(place)


def versions(place: Place) -> set[str]:
    return {
        item["metadata"]["resourceVersion"]
        for plural in (REFRESHES, "cronjobs", "jobs")
        for item in place.api.items(place.namespace, plural)
    }


@pytest.mark.parametrize("fault", ["409", "500", "lost"])
def test_f6_a_status_write_is_answered_wrongly_or_not_at_all(places, fault):
    """Three times in a row: it converges, one request has one Job, and nothing goes round in circles."""
    place = places()
    left = {"/status": 3}

    def three_times(method: str, path: str) -> str | None:
        if method == "PATCH" and path.endswith("/f6/status") and left["/status"]:
            left["/status"] -= 1
            return fault
        return None

    with FaultyApi(place.kubectl.kubeconfig, three_times) as proxy:
        proxy.lead_through(place.home / f"{place.namespace}.kubeconfig")
        place.start()
        place.refresh("f6", token="one")
        place.until(lambda: proxy.hits == [fault] * 3, 40, "f6")
        job = place.run_of("f6")
        place.until(lambda: place.status("f6").get("lastHandledRequestAt") == "one", 40, "f6")
        place.ready("f6")
        place.end(job)
        assert place.concluded("f6", job, within=40)["outcome"] == "Succeeded"
        assert [each["metadata"]["name"] for each in place.jobs("f6")] == [job]
        place.until(lambda: at_rest(place), 60, "f6")
        written = len([each for each in proxy.seen if each[0] != "GET"])
        time.sleep(5)
        assert len([each for each in proxy.seen if each[0] != "GET"]) == written
        assert written < 40
        # before the proxy goes, which would end its watches in mid-sentence
        place.stop(signal.SIGKILL)


@pytest.fixture
def apart(places) -> Iterator[list[tuple[Place, int]]]:
    """Two places; the clock of one's operator goes before, that of the other behind."""
    made = []
    for minutes in (5, -5):
        place = places()
        place.program = ("-c", SHIFTED.format(minutes=minutes))
        place.start()
        made.append((place, minutes))
    yield made
    for place, _ in made:
        place.stop()


def test_f18_clocks_are_five_minutes_apart(apart):
    """The operator's, and those of the nodes: a slot has one run, none is missed, no duration is negative."""
    slot = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
    for place, minutes in apart:
        place.refresh("f18", schedule=f"{slot.minute} {slot.hour} * * *")
        place.ready("f18")
        assert re.search(
            rf"clock is {-60 * minutes} s behind|clock is {-60 * minutes - 1} s behind", place.log.read_text()
        )  # the fault hit
        told = next(each for each in place.status("f18")["conditions"] if each["type"] == "Ready")["lastTransitionTime"]
        assert abs(datetime.fromisoformat(told) - datetime.now(UTC)) < timedelta(minutes=1)
    time.sleep(max(0.0, (slot - datetime.now(UTC)).total_seconds()))
    for place, minutes in apart:
        job = place.run_of("f18", within=40)
        there = datetime.now(UTC) + timedelta(minutes=minutes)
        times = {"startTime": there, "heartbeatTime": there - timedelta(minutes=2 * minutes), "completionTime": there}
        place.report("f18", job, **{name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in times.items()})
        place.end(job)
        run = place.concluded("f18", job)
        assert datetime.fromisoformat(run["startTime"]) <= datetime.fromisoformat(run["completionTime"])
        assert run["outcome"] == "Succeeded"
        assert "-" not in run["duration"]
        assert "h" not in run["duration"]
    time.sleep(15)
    for place, _ in apart:
        assert len(place.jobs("f18")) == 1
        assert place.status("f18").get("missedRuns", 0) == 0


@pytest.mark.timeout(600)
def test_f27_a_thousand_runs_of_one_refresh(own_place):
    """The history stays short and the resource small, whatever the runs say; afterwards the operator is at rest."""
    own_place.start()
    own_place.refresh("f27")
    own_place.ready("f27")
    template = (own_place.cronjob("f27") or {})["spec"]["jobTemplate"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: come_and_go(own_place.api, own_place.namespace, template, number), range(1000)))
    own_place.until(lambda: at_rest(own_place), 120, "f27")
    status = own_place.status("f27")
    assert len(status["history"]) == 10
    assert status["consecutiveFailures"] > 10  # the fault hit: many more were told than are kept
    assert len(json.dumps(own_place.seen("f27"))) < 64_000
    assert status.get("active", []) == []


def come_and_go(api: ApiServer, namespace: str, template: dict, number: int) -> None:
    """A Job that fails with many words, and is cleared away."""
    name = f"f27-{29_000_000 + number}"
    # suspended: no pod, and the Job controller leaves it to us
    body = {"metadata": {**template["metadata"], "name": name}, "spec": {**template["spec"], "suspend": True}}
    api.create(namespace, "jobs", body)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"status": "True", "lastTransitionTime": now, "message": "words " * 500}
    ends = [{"type": kind, **ended} for kind in ("FailureTarget", "Failed")]
    api.patch(namespace, "jobs", name, {"status": {"startTime": now, "conditions": ends}}, status=True)
    time.sleep(0.3)
    api.delete(namespace, "jobs", name)


def test_f32_operator_and_runs_live_in_a_restricted_namespace(own_place):
    """The API server itself lets both pods in; the control: one that may do more is refused."""
    own_place.api.patch(
        "", "namespaces", own_place.namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    )
    bare = {"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    with pytest.raises(AssertionError, match="PodSecurity"):
        own_place.api.create(own_place.namespace, "pods", bare)
    own_place.install("operator.replicas=2", "caBundle.configMap=ca", "networkPolicy.enabled=true")
    own_place.until(lambda: len(own_place.api.items(own_place.namespace, "pods", "app.kubernetes.io/name=dashboard-refresh")) == 2, 30)
    own_place.start()
    own_place.refresh("f32", token="one")
    own_place.pod_of(own_place.run_of("f32"))
