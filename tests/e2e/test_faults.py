"""Faults of a whole cluster: a runner killed for its memory is reported, and a schedule fires without the operator."""

from __future__ import annotations

from support.eventually import eventually
from support.real_cluster import ONE_VIEW, assert_recovers


def test_a_runner_killed_by_memory_is_reported(installation, apply_phase2):
    """A killed runner cannot report; without the operator nobody would learn of it."""
    small = {"requests": {"memory": "24Mi"}, "limits": {"memory": "48Mi"}}
    name = apply_phase2(retries=0, resources=small, **ONE_VIEW)
    installation.request_run(name, "small")
    done = installation.wait_for_run(name, "small")
    assert (done["outcome"], done["reason"]) == ("Failed", "OOMKilled"), done
    eventually(lambda: [message for message in installation.inbox_messages() if done["id"] in message["text"]], within=60)
    installation.kubectl("patch", "dashboardrefresh", name, "--type=merge", '-p={"spec":{"resources":{"limits":{"memory":"1Gi"}}}}')
    assert_recovers(installation, name)


def test_a_slot_runs_while_the_operator_is_down(installation, apply_phase2):
    """The schedule is a CronJob's, so that an operator's outage costs no run; the operator catches up afterwards."""
    name = apply_phase2(**ONE_VIEW)
    eventually(lambda: installation.status(name).get("phase") == "Scheduled", within=60, context=lambda: installation.describe(name))
    installation.kubectl("patch", "dashboardrefresh", name, "--type=merge", '-p={"spec":{"schedule":"* * * * *"}}')
    eventually(lambda: installation.kubectl.json("cronjob", name)["spec"]["schedule"] == "* * * * *", within=60)
    installation.kubectl("scale", "deployment/dashboard-refresh", "--replicas=0")
    try:
        job = eventually(lambda: finished_job(installation, name), within=120, every=1, context=lambda: installation.describe(name))
        assert job not in [run["id"] for run in installation.status(name).get("history", [])]
        assert installation.status(name)["run"]["phase"] == "Finished"
    finally:
        installation.kubectl("scale", "deployment/dashboard-refresh", "--replicas=1")
    done = installation.wait_for_history(name, job)
    assert (done["outcome"], done["trigger"]) == ("Succeeded", "Scheduled"), done


def finished_job(installation, name: str) -> str | None:
    jobs = installation.kubectl.json("jobs", "-l", f"dashboards.sigeti.io/refresh={name}")["items"]
    return next((job["metadata"]["name"] for job in jobs if job.get("status", {}).get("succeeded")), None)
