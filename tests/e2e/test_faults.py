"""What must not go wrong: a runner without memory is told of, and a refresh runs without its operator."""

from __future__ import annotations

from support.eventually import eventually
from support.real_cluster import SHORT, recovers


def test_a_runner_killed_by_memory_is_reported(stage, phase2):
    """It can't say so itself; people are told all the same."""
    small = {"requests": {"memory": "24Mi"}, "limits": {"memory": "48Mi"}}
    name = phase2(retries=0, resources=small, **SHORT)
    stage.request_run(name, "small")
    done = stage.finished(name, "small")
    assert (done["outcome"], done["reason"]) == ("Failed", "OOMKilled"), done
    eventually(lambda: [message for message in stage.inbox() if done["id"] in message["text"]], within=60)
    stage.kubectl("patch", "dashboardrefresh", name, "--type=merge", '-p={"spec":{"resources":{"limits":{"memory":"1Gi"}}}}')
    recovers(stage, name)


def test_a_slot_runs_while_the_operator_is_down(stage, phase2):
    """The schedule is Kubernetes' own; the operator catches up."""
    name = phase2(**SHORT)
    eventually(lambda: stage.status(name).get("phase") == "Scheduled", within=60, context=lambda: stage.story(name))
    stage.kubectl("patch", "dashboardrefresh", name, "--type=merge", '-p={"spec":{"schedule":"* * * * *"}}')
    eventually(lambda: stage.kubectl.json("cronjob", name)["spec"]["schedule"] == "* * * * *", within=60)
    stage.kubectl("scale", "deployment/dashboard-refresh", "--replicas=0")
    try:
        job = eventually(lambda: finished_job(stage, name), within=120, every=1, context=lambda: stage.story(name))
        assert job not in [run["id"] for run in stage.status(name).get("history", [])]
        assert stage.status(name)["run"]["phase"] == "Finished"
    finally:
        stage.kubectl("scale", "deployment/dashboard-refresh", "--replicas=1")
    done = stage.concluded(name, job)
    assert (done["outcome"], done["trigger"]) == ("Succeeded", "Scheduled"), done


def finished_job(stage, name: str) -> str | None:
    jobs = stage.kubectl.json("jobs", "-l", f"dashboards.sigeti.io/refresh={name}")["items"]
    return next((job["metadata"]["name"] for job in jobs if job.get("status", {}).get("succeeded")), None)
