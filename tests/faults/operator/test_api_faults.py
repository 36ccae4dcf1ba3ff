"""Wrong responses, shifted clocks and large histories: the operator converges, and sends no more requests than needed."""

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
from support.operator_harness import REFRESHES, OperatorHarness

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


def at_rest(operator: OperatorHarness) -> bool:
    before = versions(operator)
    time.sleep(4)
    return before == versions(operator)


def versions(operator: OperatorHarness) -> set[str]:
    return {
        item["metadata"]["resourceVersion"]
        for plural in (REFRESHES, "cronjobs", "jobs")
        for item in operator.api.items(operator.namespace, plural)
    }


def writes(proxy: FaultyApi) -> int:
    """Return the number of writes, without the renewals of Leases."""
    return len([path for method, path in proxy.seen if method != "GET" and "/leases" not in path])


@pytest.mark.parametrize("fault", ["409", "500", "lost"])
def test_f6_a_status_write_is_answered_wrongly_or_not_at_all(create_operator, fault):
    """After three wrong responses in a row, the status converges, one request has one Job, and no hot loop remains."""
    operator = create_operator()
    left = {"/status": 3}

    def three_times(method: str, path: str) -> str | None:
        if method == "PATCH" and path.endswith("/f6/status") and left["/status"]:
            left["/status"] -= 1
            return fault
        return None

    with FaultyApi(operator.kubectl.kubeconfig, three_times) as proxy:
        proxy.lead_through(operator.home / f"{operator.namespace}.kubeconfig")
        operator.start()
        operator.create_refresh("f6", token="one")
        operator.wait_for(lambda: proxy.hits == [fault] * 3, 40, "f6")
        job = operator.wait_for_job("f6")
        operator.wait_for(lambda: operator.status("f6").get("lastHandledRequestAt") == "one", 40, "f6")
        operator.wait_until_ready("f6")
        operator.end_pod(job)
        assert operator.wait_for_history("f6", job, within=40)["outcome"] == "Succeeded"
        assert [each["metadata"]["name"] for each in operator.jobs("f6")] == [job]
        operator.wait_for(lambda: at_rest(operator), 60, "f6")
        written = writes(proxy)
        time.sleep(5)
        assert writes(proxy) == written
        assert written < 40
        # before the proxy stops, which would break its watches
        operator.stop(signal.SIGKILL)


@pytest.fixture
def apart(create_operator) -> Iterator[list[tuple[OperatorHarness, int]]]:
    """Two operators: the clock of one is ahead, that of the other behind."""
    made = []
    for minutes in (5, -5):
        operator = create_operator()
        operator.program = ("-c", SHIFTED.format(minutes=minutes))
        operator.start()
        made.append((operator, minutes))
    yield made
    for operator, _ in made:
        operator.stop()


def test_f18_clocks_are_five_minutes_apart(apart):
    """The clocks of operator and nodes differ by five minutes: one run per scheduled time, none missed, no negative duration."""
    slot = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
    for operator, minutes in apart:
        operator.create_refresh("f18", schedule=f"{slot.minute} {slot.hour} * * *")
        operator.wait_until_ready("f18")
        assert re.search(
            rf"clock is {-60 * minutes} s behind|clock is {-60 * minutes - 1} s behind", operator.log.read_text()
        )  # the runs were created
        told = next(each for each in operator.status("f18")["conditions"] if each["type"] == "Ready")["lastTransitionTime"]
        assert abs(datetime.fromisoformat(told) - datetime.now(UTC)) < timedelta(minutes=1)
    time.sleep(max(0.0, (slot - datetime.now(UTC)).total_seconds()))
    for operator, minutes in apart:
        job = operator.wait_for_job("f18", within=40)
        there = datetime.now(UTC) + timedelta(minutes=minutes)
        times = {"startTime": there, "heartbeatTime": there - timedelta(minutes=2 * minutes), "completionTime": there}
        operator.report_run("f18", job, **{name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in times.items()})
        operator.end_pod(job)
        run = operator.wait_for_history("f18", job)
        assert datetime.fromisoformat(run["startTime"]) <= datetime.fromisoformat(run["completionTime"])
        assert run["outcome"] == "Succeeded"
        assert "-" not in run["duration"]
        assert "h" not in run["duration"]
    time.sleep(15)
    for operator, _ in apart:
        assert len(operator.jobs("f18")) == 1
        assert operator.status("f18").get("missedRuns", 0) == 0


@pytest.mark.timeout(600)
def test_f27_a_thousand_runs_of_one_refresh(fresh_operator):
    """The history is limited and the object small, whatever runs report. Afterwards the operator is idle."""
    fresh_operator.start()
    fresh_operator.create_refresh("f27")
    fresh_operator.wait_until_ready("f27")
    template = (fresh_operator.cronjob("f27") or {})["spec"]["jobTemplate"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: come_and_go(fresh_operator.api, fresh_operator.namespace, template, number), range(1000)))
    fresh_operator.wait_for(lambda: at_rest(fresh_operator), 120, "f27")
    status = fresh_operator.status("f27")
    assert len(status["history"]) == 10
    assert status["consecutiveFailures"] > 10  # more runs were reported than are kept
    assert len(json.dumps(fresh_operator.get_refresh("f27"))) < 64_000
    assert status.get("active", []) == []


def come_and_go(api: ApiServer, namespace: str, template: dict, number: int) -> None:
    """Create a Job that fails with a long message, and delete it."""
    name = f"f27-{29_000_000 + number}"
    # suspended, so that no pod is created and the Job controller does not interfere
    body = {"metadata": {**template["metadata"], "name": name}, "spec": {**template["spec"], "suspend": True}}
    api.create(namespace, "jobs", body)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"status": "True", "lastTransitionTime": now, "message": "words " * 500}
    ends = [{"type": kind, **ended} for kind in ("FailureTarget", "Failed")]
    api.patch(namespace, "jobs", name, {"status": {"startTime": now, "conditions": ends}}, status=True)
    time.sleep(0.3)
    api.delete(namespace, "jobs", name)


def test_f32_operator_and_runs_live_in_a_restricted_namespace(fresh_operator):
    """The API server's own Pod Security admission accepts both pods; the control: a privileged one is refused."""
    fresh_operator.api.patch(
        "", "namespaces", fresh_operator.namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    )
    bare = {"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    with pytest.raises(AssertionError, match="PodSecurity"):
        fresh_operator.api.create(fresh_operator.namespace, "pods", bare)
    fresh_operator.install("operator.replicas=2", "caBundle.configMap=ca", "networkPolicy.enabled=true")
    fresh_operator.wait_for(
        lambda: len(fresh_operator.api.items(fresh_operator.namespace, "pods", "app.kubernetes.io/name=dashboard-refresh")) == 2, 30
    )
    fresh_operator.start()
    fresh_operator.create_refresh("f32", token="one")
    fresh_operator.wait_for_pod(fresh_operator.wait_for_job("f32"))
