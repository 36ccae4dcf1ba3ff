"""Two operators, replicas or releases: the active one is killed while it works, or frozen and continued."""

import json
import signal
import time
from collections import Counter

import pytest

from cluster.ports import free_port
from support.operator_harness import REFRESHES, OperatorHarness

TAKEOVER = 20
"""Seconds within which the other replica takes over."""
COUNT = 30


@pytest.fixture
def two(fresh_operator):
    """The leader and the standby."""
    replicas = [fresh_operator.replica(name, free_port()) for name in ("first", "second")]
    for each in replicas:
        url = each.settings["HEALTH_ENDPOINT"].replace("healthz", "readyz")
        each.start()
        fresh_operator.wait_for(lambda url=url, each=each: each.responds(url), 30)
    assert holder(fresh_operator) == "first"
    yield replicas
    for each in replicas:
        each.stop(signal.SIGKILL)


def holder(operator: OperatorHarness) -> str:
    return str((operator.api.get(operator.namespace, "leases", "op-dashboard-refresh") or {})["spec"]["holderIdentity"])


def acknowledged(operator: OperatorHarness) -> int:
    items = operator.api.items(operator.namespace, REFRESHES)
    return sum(item.get("status", {}).get("lastHandledRequestAt") == "one" for item in items)


def test_f4_the_leader_is_killed_in_the_midst_of_its_work(two):
    """The leader dies after handling some of thirty requests. The standby takes over within 20 seconds, with one Job per request."""
    first, second = two
    for number in range(COUNT):
        first.create_refresh(f"f4-{number}", token="one")
    first.wait_for(lambda: acknowledged(first) >= 2, 20)
    first.stop(signal.SIGKILL)
    done, killed = acknowledged(first), time.monotonic()
    assert 0 < done < COUNT  # some are handled, some are not
    second.wait_for(lambda: holder(second) == "second", TAKEOVER)
    second.wait_for(lambda: acknowledged(second) > done, TAKEOVER)
    assert time.monotonic() - killed < TAKEOVER
    second.wait_for(lambda: acknowledged(second) == COUNT, 60)
    owners = Counter(job["metadata"]["labels"]["dashboards.sigeti.io/refresh"] for job in first.api.items(first.namespace, "jobs"))
    assert owners == {f"f4-{number}": 1 for number in range(COUNT)}
    started = [reason for number in range(COUNT) for reason, _ in first.events(f"f4-{number}") if reason == "RunStarted"]
    assert len(started) <= COUNT


def test_f4_a_leader_that_was_frozen_writes_nothing_when_it_comes_back(two):
    """It finds that another one leads, and exits. The new leader applies pending changes once."""
    first, second = two
    first.create_refresh("frozen")
    first.wait_until_ready("frozen")
    process = first.pid
    first.freeze()
    first.patch_spec("frozen", schedule="7 7 1 1 *")
    first.request_run("frozen", "one")
    second.wait_for(lambda: second.status("frozen").get("lastHandledRequestAt") == "one", TAKEOVER + 5, "frozen")
    assert holder(second) == "second"
    version = second.cronjob("frozen")["metadata"]["resourceVersion"]
    lines = len(first.log.read_text().splitlines())
    first.thaw()
    assert first.wait(20) == 1
    said = [json.loads(line) for line in first.log.read_text().splitlines()[lines:]]
    assert any("is now held by second" in each["message"] for each in said), process
    assert not any(each["message"].startswith(("created", "replaced", "deleted")) for each in said)
    assert second.cronjob("frozen")["metadata"]["resourceVersion"] == version
    assert len(second.jobs("frozen")) == 1


def test_f39_a_release_that_was_frozen_writes_nothing_when_it_comes_back(create_operator):
    """Another release that watches the namespace has taken over. Pending changes are applied once, with the settings of that release."""
    quick = {"CLAIM_DURATION": "4s", "RECHECK": "1s"}
    first = create_operator(RUNNER_IMAGE="refresh-runner:first", **quick)
    listed = f"watch.namespaces={{{first.namespace}}}"
    second = create_operator(listed, WATCH_NAMESPACES=first.namespace, RUNNER_IMAGE="refresh-runner:second", **quick)
    first.start()
    first.create_refresh("frozen")
    first.wait_until_ready("frozen")
    second.start()
    first.expect_events("frozen", "OtherOperator")
    first.freeze()
    written = len(first.log.read_text())
    first.patch_spec("frozen", schedule="7 7 1 1 *")
    first.request_run("frozen", "one")
    first.wait_for(lambda: first.status("frozen").get("lastHandledRequestAt") == "one", 25, "frozen")
    first.wait_for(lambda: "refresh-runner:second" in str(first.cronjob("frozen")), 5, "frozen")
    first.thaw()
    first.wait_for(lambda: len([reason for reason, _ in first.events("frozen") if reason == "OtherOperator"]) == 2, 20, "frozen")
    assert not any(word in first.log.read_text()[written:] for word in ("created", "replaced", "deleted"))
    assert "refresh-runner:second" in str(first.cronjob("frozen"))
    assert len(first.jobs("frozen")) == 1
