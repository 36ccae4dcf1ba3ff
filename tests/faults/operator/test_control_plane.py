"""The operator while parts of the control plane are away, silent or slow; on a real API server whose processes are stopped."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from cluster.embedded.control_plane import ControlPlane
from cluster.ports import free_port
from support.place import Place
from support.proxy import Proxy


def entries(place: Place, name: str) -> list[str]:
    return [run["id"] for run in place.status(name).get("history", [])]


def jobs(place: Place, name: str) -> list[str]:
    return [each["metadata"]["name"] for each in place.jobs(name)]


def test_f1_the_operator_is_killed_in_mid_run_and_stays_away_to_its_end(own_place):
    """The run ends and reports; afterwards there is one entry, and no second Job."""
    own_place.start()
    own_place.refresh("f1", token="one")
    job = own_place.run_of("f1")
    own_place.play(job, "Running", {"running": {}})
    own_place.until(lambda: own_place.status("f1").get("active"), 20, "f1")
    own_place.stop(signal.SIGKILL)
    own_place.report("f1", job)
    own_place.end(job)
    time.sleep(3)
    assert entries(own_place, "f1") == []  # the fault hit: nobody has told of the end
    own_place.start()
    assert own_place.concluded("f1", job, within=40)["outcome"] == "Succeeded"
    assert (entries(own_place, "f1"), jobs(own_place, "f1")) == ([job], [job])


def test_f5_the_api_server_is_away_in_mid_run(own_place, control_plane: ControlPlane):
    """For a minute; the result arrives afterwards, the operator was not started anew, nothing ran twice."""
    own_place.start()
    own_place.refresh("f5", token="one")
    job = own_place.run_of("f5")
    own_place.play(job, "Running", {"running": {}})
    own_place.until(lambda: own_place.status("f5").get("active"), 20, "f5")
    process = own_place.pid
    control_plane.stop_component("kube-apiserver")
    try:
        with pytest.raises(Exception, match=r"refused|disconnected|reset"):
            own_place.status("f5")
        time.sleep(60)
    finally:
        control_plane.start_component("kube-apiserver")
    own_place.report("f5", job)
    own_place.end(job)
    # Kubernetes' own controller, which ends the Job, waits longer and longer for an API server that is away
    assert own_place.concluded("f5", job, within=150)["outcome"] == "Succeeded"
    assert (own_place.pid, jobs(own_place, "f5")) == (process, [job])
    own_place.request("f5", "two")
    own_place.until(lambda: own_place.status("f5").get("lastHandledRequestAt") == "two", 60, "f5")


def test_f5_the_api_server_is_away_from_two_operators(own_place, control_plane: ControlPlane):
    """For longer than the Lease lasts: afterwards one of them works, the run is told of once, a new token makes one Job."""
    two = [own_place.replica(name, free_port()) for name in ("first", "second")]
    try:
        for each in two:
            each.start()
        own_place.refresh("f5-two", token="one")
        job = own_place.run_of("f5-two")
        own_place.play(job, "Running", {"running": {}})
        own_place.until(lambda: own_place.status("f5-two").get("active"), 45, "f5-two")
        control_plane.stop_component("kube-apiserver")
        try:
            with pytest.raises(Exception, match=r"refused|disconnected|reset"):
                own_place.status("f5-two")
            time.sleep(30)
        finally:
            control_plane.start_component("kube-apiserver")
        own_place.report("f5-two", job)
        own_place.end(job)
        assert own_place.concluded("f5-two", job, within=90)["outcome"] == "Succeeded"
        own_place.request("f5-two", "two")
        own_place.until(lambda: own_place.status("f5-two").get("lastHandledRequestAt") == "two", 60, "f5-two")
        assert (entries(own_place, "f5-two"), len(jobs(own_place, "f5-two"))) == ([job], 2)
        lease = own_place.api.get(own_place.namespace, "leases", "op-dashboard-refresh") or {}
        assert lease["spec"]["holderIdentity"] in ("first", "second")
    finally:
        for each in two:
            each.stop(signal.SIGKILL)


def test_f2_the_operator_is_away_over_several_slots(own_place):
    """Each slot has its run; the operator then tells of each once, and calls none of them missed."""
    own_place.start()
    own_place.refresh("f2", schedule="* * * * *")
    own_place.ready("f2")
    own_place.stop(signal.SIGKILL)
    before = entries(own_place, "f2")
    for count in (1, 2):
        own_place.until(lambda count=count: len(jobs(own_place, "f2")) >= count, 90, "f2")
        own_place.end(jobs(own_place, "f2")[-1])
    assert entries(own_place, "f2") == before == []  # the fault hit: nobody has told of them
    there = jobs(own_place, "f2")
    own_place.edit("f2", suspend=True)
    own_place.start()
    own_place.until(lambda: set(there[:2]) <= set(entries(own_place, "f2")), 60, "f2")
    known = entries(own_place, "f2")
    assert len(known) == len(set(known))
    assert own_place.status("f2").get("missedRuns", 0) == 0
    assert all(run["trigger"] == "Scheduled" for run in own_place.status("f2")["history"])


def test_f7_the_controller_manager_is_away_over_a_slot(own_place, control_plane: ControlPlane):
    """The slot is caught up once, and is not called missed."""
    own_place.start()
    slot = (datetime.now(UTC) + timedelta(seconds=75)).replace(second=0, microsecond=0)
    own_place.refresh("f7", schedule=f"{slot.minute} {slot.hour} * * *")
    own_place.ready("f7")
    control_plane.stop_component("kube-controller-manager")
    try:
        time.sleep(max(0.0, (slot - datetime.now(UTC)).total_seconds()) + 10)
        assert jobs(own_place, "f7") == []  # the fault hit: the slot has passed
    finally:
        control_plane.start_component("kube-controller-manager")
    own_place.until(lambda: jobs(own_place, "f7"), 60, "f7")
    time.sleep(5)
    assert len(jobs(own_place, "f7")) == 1
    assert own_place.status("f7").get("missedRuns", 0) == 0


def test_what_kubernetes_has_not_cleared_away_is_no_strangers(own_place, control_plane: ControlPlane):
    """A refresh is deleted and made again while nobody collects: it takes over what its namesake left, ends its run, and keeps it."""
    own_place.start()
    own_place.refresh("namesake", token="one")
    own_place.ready("namesake")
    job = own_place.run_of("namesake")
    left = own_place.cronjob("namesake")["metadata"]
    control_plane.stop_component("kube-controller-manager")
    try:
        own_place.api.delete(own_place.namespace, "dashboardrefreshes", "namesake")
        time.sleep(5)
        assert own_place.cronjob("namesake")["metadata"] == left  # the fault hit: it is there, and its owner is not
        own_place.refresh("namesake", schedule="0 0 2 2 *")
        own_place.ready("namesake")
        own_place.until(lambda: job not in jobs(own_place, "namesake"), 20, "namesake")
        assert own_place.cronjob("namesake")["spec"]["schedule"] == "0 0 2 2 *"
    finally:
        control_plane.start_component("kube-controller-manager")
    time.sleep(20)
    assert own_place.cronjob("namesake")["metadata"]["uid"] == left["uid"]
    assert own_place.condition("namesake", "Ready")[0] == "True"
    events = own_place.kubectl("get", "events", "--field-selector=involvedObject.kind=DashboardRefresh")
    assert not any(reason in events for reason in ("CronJobConflict", "DriftCorrected")), events


def test_f30_watches_that_go_silent(places):
    """Open connections on which nothing comes any more: what was deleted is back within a resync, by asking; the control: nobody told."""
    place = places()
    place.settings = {"RESYNC": "20s"}
    config = place.home / f"{place.namespace}.kubeconfig"
    told = json.loads(config.read_text())
    server = urlsplit(told["clusters"][0]["cluster"]["server"])
    with Proxy(str(server.hostname), int(server.port or 443)) as proxy:
        told["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        config.write_text(json.dumps(told))
        place.start()
        place.refresh("f30")
        place.ready("f30")
        time.sleep(5)
        assert proxy.silence() > 5
        place.api.delete(place.namespace, "cronjobs", "f30")
        time.sleep(4)
        assert place.cronjob("f30") is None  # the fault hit: a watch would have told by now
        place.until(lambda: place.cronjob("f30"), 75, "f30")
        place.stop()


@pytest.mark.parametrize("first", ["the namespace", "the operator"])
def test_f28_a_namespace_is_deleted_with_a_run_under_way(places, first):
    """It goes within seconds, also when the operator is told to end at the same moment, as one that lives in there is.

    The control: Kubernetes ends pods before all else in a namespace, and a Job that counts its failures by index keeps its pod until it
    could make another one, which it can't there: where no operator is any more, a namespace waits for the Job's deadline.
    """
    kept, alone = places(), places()
    for place in (kept, alone):
        place.start()
        place.refresh("f28", token="one")
        place.play(place.run_of("f28"), "Running", {"running": {}})
        place.until(lambda place=place: place.status("f28").get("active"), 20, "f28")
    alone.stop(signal.SIGKILL)
    for place in (alone, kept):
        place.api.delete("", "namespaces", place.namespace)
    if first == "the operator":
        kept.stop()
    kept.until(lambda: kept.api.get("", "namespaces", kept.namespace) is None, 60)
    assert alone.jobs("f28")
    alone.api.delete(alone.namespace, "jobs", alone.jobs("f28")[0]["metadata"]["name"])
    alone.until(lambda: alone.api.get("", "namespaces", alone.namespace) is None, 120)
    kept.stop()
