"""Runs that end badly: the status says why, and the next run works."""

from __future__ import annotations

import pytest

from support.eventually import eventually

PASSWORD = "p%40:/'\"$"
SHORT = {"layers": [{"name": "staging", "select": ["stg_implantations"]}], "tests": None, "validation": None, "cache": None}
"""One view: for faults that have nothing to do with what a run builds."""


def recovers(stage, name: str) -> None:
    """The next run of the refresh succeeds."""
    stage.request_run(name, "again")
    assert stage.finished(name, "again")["outcome"] == "Succeeded", stage.story(name)


def test_a_warehouse_that_is_away_is_tried_again_and_then_named(stage, phase2):
    """Attempts are shown while they last; the password shows nowhere."""
    name = phase2(retries=1, timeout="3m", **SHORT)
    with stage.warehouse_away():
        stage.request_run(name, "no-warehouse")
        eventually(lambda: "attempt 1/2" in running_message(stage, name), within=90, context=lambda: stage.story(name))
        done = stage.finished(name, "no-warehouse")
        everything = stage.story(name) + stage.kubectl("get", "dashboardrefresh", name, "-o", "yaml") + str(stage.inbox())
    assert (done["outcome"], done["reason"], done["attempts"]) == ("Failed", "WarehouseUnreachable", 2), done
    assert PASSWORD not in everything
    recovers(stage, name)


def test_a_run_over_its_deadline_names_the_step(stage, phase2):
    """A source that answers too slowly holds the facts up until the run's time is over; the next run works."""
    name = phase2(retries=0, timeout="45s")
    with stage.slow("sigeti.indemnisations", seconds=120):
        stage.request_run(name, "slow")
        done = stage.finished(name, "slow")
    assert (done["outcome"], done["reason"]) == ("Failed", "DeadlineExceeded"), done
    assert "2/6 facts" in done["message"]
    stage.kubectl("patch", "dashboardrefresh", name, "--type=merge", '-p={"spec":{"timeout":"5m"}}')
    recovers(stage, name)


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


@pytest.fixture
def missing_image(stage):
    """An operator that was told an image that is nowhere; right again afterwards."""
    stage.install_operator("runner.image.tag=missing")
    yield
    stage.install_operator()


@pytest.mark.usefixtures("missing_image")
def test_an_image_that_cannot_be_pulled_is_named(stage, phase2):
    """While it waits, and as the reason once it is given up."""
    name = phase2(retries=0, startTimeout="8s", **SHORT)
    stage.request_run(name, "no-image")
    done = stage.finished(name, "no-image")
    assert (done["outcome"], done["reason"]) == ("Failed", "ImagePullFailed"), done
    assert "missing" in done["message"]
    stage.install_operator()
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


def running_message(stage, name: str) -> str:
    conditions = stage.status(name).get("conditions", [])
    return next((condition["message"] for condition in conditions if condition["type"] == "Running"), "")
