"""The operator while parts of the control plane are stopped, silent or slow, on a real API server."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from cluster.embedded.control_plane import ControlPlane
from cluster.ports import free_port
from support.operator_harness import OperatorHarness
from support.proxy import Proxy


def entries(operator: OperatorHarness, name: str) -> list[str]:
    return [run["id"] for run in operator.status(name).get("history", [])]


def jobs(operator: OperatorHarness, name: str) -> list[str]:
    return [each["metadata"]["name"] for each in operator.jobs(name)]


def test_f1_the_operator_is_killed_in_mid_run_and_stays_away_to_its_end(fresh_operator):
    """The run must end without the operator; afterwards it has one history entry and no second Job."""
    fresh_operator.start()
    fresh_operator.create_refresh("f1", token="one")
    job = fresh_operator.wait_for_job("f1")
    fresh_operator.set_pod_status(job, "Running", {"running": {}})
    fresh_operator.wait_for(lambda: fresh_operator.status("f1").get("active"), 20, "f1")
    fresh_operator.stop(signal.SIGKILL)
    fresh_operator.report_run("f1", job)
    fresh_operator.end_pod(job)
    time.sleep(3)
    assert entries(fresh_operator, "f1") == []  # the operator has not recorded the end
    fresh_operator.start()
    assert fresh_operator.wait_for_history("f1", job, within=40)["outcome"] == "Succeeded"
    assert (entries(fresh_operator, "f1"), jobs(fresh_operator, "f1")) == ([job], [job])


def test_f5_the_api_server_is_away_in_mid_run(fresh_operator, control_plane: ControlPlane):
    """After a minute without the API server, the result arrives, the operator has not restarted, and nothing ran twice."""
    fresh_operator.start()
    fresh_operator.create_refresh("f5", token="one")
    job = fresh_operator.wait_for_job("f5")
    fresh_operator.set_pod_status(job, "Running", {"running": {}})
    fresh_operator.wait_for(lambda: fresh_operator.status("f5").get("active"), 20, "f5")
    process = fresh_operator.pid
    control_plane.stop_component("kube-apiserver")
    try:
        with pytest.raises(Exception, match=r"refused|disconnected|reset"):
            fresh_operator.status("f5")
        time.sleep(60)
    finally:
        control_plane.start_component("kube-apiserver")
    fresh_operator.report_run("f5", job)
    fresh_operator.end_pod(job)
    # the Job controller backs off while the API server is away
    assert fresh_operator.wait_for_history("f5", job, within=150)["outcome"] == "Succeeded"
    assert (fresh_operator.pid, jobs(fresh_operator, "f5")) == (process, [job])
    fresh_operator.request_run("f5", "two")
    fresh_operator.wait_for(lambda: fresh_operator.status("f5").get("lastHandledRequestAt") == "two", 60, "f5")


def test_f5_the_api_server_is_away_from_two_operators(fresh_operator, control_plane: ControlPlane):
    """After an outage longer than the Lease, one operator works, one notification of the run is sent, and a new token has one Job."""
    two = [fresh_operator.replica(name, free_port()) for name in ("first", "second")]
    try:
        for each in two:
            each.start()
        fresh_operator.create_refresh("f5-two", token="one")
        job = fresh_operator.wait_for_job("f5-two")
        fresh_operator.set_pod_status(job, "Running", {"running": {}})
        fresh_operator.wait_for(lambda: fresh_operator.status("f5-two").get("active"), 45, "f5-two")
        control_plane.stop_component("kube-apiserver")
        try:
            with pytest.raises(Exception, match=r"refused|disconnected|reset"):
                fresh_operator.status("f5-two")
            time.sleep(30)
        finally:
            control_plane.start_component("kube-apiserver")
        fresh_operator.report_run("f5-two", job)
        fresh_operator.end_pod(job)
        assert fresh_operator.wait_for_history("f5-two", job, within=90)["outcome"] == "Succeeded"
        fresh_operator.request_run("f5-two", "two")
        fresh_operator.wait_for(lambda: fresh_operator.status("f5-two").get("lastHandledRequestAt") == "two", 60, "f5-two")
        assert (entries(fresh_operator, "f5-two"), len(jobs(fresh_operator, "f5-two"))) == ([job], 2)
        lease = fresh_operator.api.get(fresh_operator.namespace, "leases", "op-dashboard-refresh") or {}
        assert lease["spec"]["holderIdentity"] in ("first", "second")
    finally:
        for each in two:
            each.stop(signal.SIGKILL)


def test_f2_the_operator_is_away_over_several_slots(fresh_operator):
    """Each scheduled time has its run. The operator then records each run once, and reports none as missed."""
    fresh_operator.start()
    fresh_operator.create_refresh("f2", schedule="* * * * *")
    fresh_operator.wait_until_ready("f2")
    fresh_operator.stop(signal.SIGKILL)
    before = entries(fresh_operator, "f2")
    for count in (1, 2):
        fresh_operator.wait_for(lambda count=count: len(jobs(fresh_operator, "f2")) >= count, 90, "f2")
        fresh_operator.end_pod(jobs(fresh_operator, "f2")[-1])
    assert entries(fresh_operator, "f2") == before == []  # the operator has not recorded them
    there = jobs(fresh_operator, "f2")
    fresh_operator.patch_spec("f2", suspend=True)
    fresh_operator.start()
    fresh_operator.wait_for(lambda: set(there[:2]) <= set(entries(fresh_operator, "f2")), 60, "f2")
    known = entries(fresh_operator, "f2")
    assert len(known) == len(set(known))
    assert fresh_operator.status("f2").get("missedRuns", 0) == 0
    assert all(run["trigger"] == "Scheduled" for run in fresh_operator.status("f2")["history"])


def test_f7_the_controller_manager_is_away_over_a_slot(fresh_operator, control_plane: ControlPlane):
    """The CronJob controller catches up, and the operator must not report a missed run."""
    fresh_operator.start()
    slot = (datetime.now(UTC) + timedelta(seconds=75)).replace(second=0, microsecond=0)
    fresh_operator.create_refresh("f7", schedule=f"{slot.minute} {slot.hour} * * *")
    fresh_operator.wait_until_ready("f7")
    control_plane.stop_component("kube-controller-manager")
    try:
        time.sleep(max(0.0, (slot - datetime.now(UTC)).total_seconds()) + 10)
        assert jobs(fresh_operator, "f7") == []  # the scheduled time has passed
    finally:
        control_plane.start_component("kube-controller-manager")
    fresh_operator.wait_for(lambda: jobs(fresh_operator, "f7"), 60, "f7")
    time.sleep(5)
    assert len(jobs(fresh_operator, "f7")) == 1
    assert fresh_operator.status("f7").get("missedRuns", 0) == 0


def test_what_kubernetes_has_not_cleared_away_is_no_strangers(fresh_operator, control_plane: ControlPlane):
    """Deleted and created again while garbage collection is away: the refresh adopts those objects and ends the run."""
    fresh_operator.start()
    fresh_operator.create_refresh("reborn", token="one")
    fresh_operator.wait_until_ready("reborn")
    job = fresh_operator.wait_for_job("reborn")
    left = fresh_operator.cronjob("reborn")["metadata"]
    control_plane.stop_component("kube-controller-manager")
    try:
        fresh_operator.api.delete(fresh_operator.namespace, "dashboardrefreshes", "reborn")
        time.sleep(5)
        assert fresh_operator.cronjob("reborn")["metadata"] == left  # the CronJob exists, but its owner does not
        fresh_operator.create_refresh("reborn", schedule="0 0 2 2 *")
        fresh_operator.wait_until_ready("reborn")
        fresh_operator.wait_for(lambda: job not in jobs(fresh_operator, "reborn"), 20, "reborn")
        assert fresh_operator.cronjob("reborn")["spec"]["schedule"] == "0 0 2 2 *"
    finally:
        control_plane.start_component("kube-controller-manager")
    time.sleep(20)
    assert fresh_operator.cronjob("reborn")["metadata"]["uid"] == left["uid"]
    assert fresh_operator.condition("reborn", "Ready")[0] == "True"
    events = fresh_operator.kubectl("get", "events", "--field-selector=involvedObject.kind=DashboardRefresh")
    assert not any(reason in events for reason in ("CronJobConflict", "DriftCorrected")), events


def test_f30_watches_that_go_silent(create_operator):
    """Connections stay open but deliver nothing. A deleted object is recreated within a resync. The control: no watch event arrived."""
    operator = create_operator()
    operator.settings = {"RESYNC": "20s"}
    config = operator.home / f"{operator.namespace}.kubeconfig"
    told = json.loads(config.read_text())
    server = urlsplit(told["clusters"][0]["cluster"]["server"])
    with Proxy(str(server.hostname), int(server.port or 443)) as proxy:
        told["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        config.write_text(json.dumps(told))
        operator.start()
        operator.create_refresh("f30")
        operator.wait_until_ready("f30")
        time.sleep(5)
        assert proxy.silence() > 5
        operator.api.delete(operator.namespace, "cronjobs", "f30")
        time.sleep(4)
        assert operator.cronjob("f30") is None  # a working watch would have delivered by now
        operator.wait_for(lambda: operator.cronjob("f30"), 75, "f30")
        operator.stop()


@pytest.mark.parametrize("first", ["the namespace", "the operator"])
def test_f28_a_namespace_is_deleted_with_a_run_under_way(create_operator, first):
    """The namespace is gone within seconds, also when the operator, which may run in it, is stopped at the same moment.

    The control: Kubernetes deletes pods first, and a Job with `backoffLimitPerIndex` keeps its pod until it could create another one,
    which it cannot in a terminating namespace: without an operator the namespace waits for the Job's deadline.
    """
    kept, alone = create_operator(), create_operator()
    for operator in (kept, alone):
        operator.start()
        operator.create_refresh("f28", token="one")
        operator.set_pod_status(operator.wait_for_job("f28"), "Running", {"running": {}})
        operator.wait_for(lambda operator=operator: operator.status("f28").get("active"), 20, "f28")
    alone.stop(signal.SIGKILL)
    for operator in (alone, kept):
        operator.api.delete("", "namespaces", operator.namespace)
    if first == "the operator":
        kept.stop()
    kept.wait_for(lambda: kept.api.get("", "namespaces", kept.namespace) is None, 60)
    assert alone.jobs("f28")
    alone.api.delete(alone.namespace, "jobs", alone.jobs("f28")[0]["metadata"]["name"])
    alone.wait_for(lambda: alone.api.get("", "namespaces", alone.namespace) is None, 120)
    kept.stop()
