"""Runs on a real cluster that end badly: the status says why, and the next run works."""

from __future__ import annotations

import json

import pytest

from support.eventually import eventually
from support.real_cluster import SHORT, recovers

PASSWORD = "p%40:/'\"$"


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


def test_a_pod_that_is_deleted_while_its_run_waits_for_somebody_goes_on_in_another(stage, phase2):
    """F9, F22: status and log name table and session; the pod says that it was interrupted; the next one keeps what is done."""
    name = phase2(retries=0, timeout="4m")
    recovers(stage, name)
    with stage.locked("dwh_facts.fait_indemnisations") as session:
        stage.request_run(name, "deleted")
        waits = f"waits for dwh_facts.fait_indemnisations, held by session {session} (dbt, somebody)"
        facts = watched_run(
            stage, name, lambda run: next((step for step in run["steps"] if step.get("message", "").startswith(waits)), None)
        )
        assert (facts["name"], facts["state"]) == ("facts", "Running")
        pod = stage.status(name)["run"]["pod"]
        assert waits in stage.kubectl("logs", pod)
        stage.kubectl("delete", "pod", pod, "--wait=false")
        interrupted = watched_run(stage, name, lambda run: run if run["phase"] == "Interrupted" else None)
        assert (interrupted["pod"], interrupted["message"]) == (pod, "ended from outside during 2/6 facts")
    done = stage.finished(name, "deleted")
    assert (done["outcome"], done["attempts"]) == ("Succeeded", 1), done
    run = stage.status(name)["run"]
    assert run["pod"] != pod
    assert run["steps"][0]["message"] == "3 models kept from an earlier attempt"


def watched_run(stage, name: str, until):
    return stage.kubectl.watched(
        "dashboardrefresh", name, until=lambda seen: until(seen.get("status", {}).get("run", {"steps": [], "phase": ""})), within=120
    )


@pytest.fixture
def rotating(stage):
    """A login of its own for the warehouse, which acts as the usual one, and the name of its Secret."""
    stage.psql("create role rotating login password 'first-word' in role dbt; alter role rotating set role dbt")
    stage.kubectl("create", "secret", "generic", "rotating", "--from-literal=host=warehouse", "--from-literal=dbname=dwh")
    rotate(stage, user="rotating", password="first-word", sslmode="disable")
    yield "rotating"
    stage.kubectl("delete", "secret", "rotating")
    stage.psql("drop role rotating")


def rotate(stage, **values: str) -> None:
    stage.kubectl("patch", "secret", "rotating", "-p", json.dumps({"stringData": values}))


def test_a_password_that_was_changed_reaches_the_next_run(stage, phase2, rotating):
    """F21: nobody touches the refresh. The control: until the Secret has the new password a run fails by it, and shows neither."""
    name = phase2(retries=0, warehouse={"secretRef": {"name": rotating}}, **SHORT)
    recovers(stage, name)
    stage.psql("alter role rotating password 'second-word'")
    stage.request_run(name, "old-password")
    failed = stage.finished(name, "old-password")
    assert (failed["outcome"], failed["reason"]) == ("Failed", "WarehouseUnreachable"), failed
    assert "password authentication failed" in failed["message"]
    rotate(stage, password="second-word")
    stage.request_run(name, "new-password")
    assert stage.finished(name, "new-password")["outcome"] == "Succeeded"
    assert not {"first-word", "second-word"} & set(stage.story(name).replace("'", " ").replace('"', " ").split())


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


def running_message(stage, name: str) -> str:
    conditions = stage.status(name).get("conditions", [])
    return next((condition["message"] for condition in conditions if condition["type"] == "Running"), "")
