"""Runs on a real cluster that end badly: the status says why, and the next run succeeds."""

from __future__ import annotations

import json

import pytest

from support.eventually import eventually
from support.real_cluster import ONE_VIEW, assert_recovers

PASSWORD = "p%40:/'\"$"


def test_a_warehouse_that_is_away_is_tried_again_and_then_named(installation, apply_phase2):
    """Attempts are visible while the warehouse is unreachable, and the password appears nowhere."""
    name = apply_phase2(retries=1, timeout="3m", **ONE_VIEW)
    with installation.unreachable("warehouse"):
        installation.request_run(name, "no-warehouse")
        eventually(lambda: "attempt 1/2" in running_message(installation, name), within=90, context=lambda: installation.describe(name))
        done = installation.wait_for_run(name, "no-warehouse")
        everything = (
            installation.describe(name)
            + installation.kubectl("get", "dashboardrefresh", name, "-o", "yaml")
            + str(installation.inbox_messages())
        )
    assert (done["outcome"], done["reason"], done["attempts"]) == ("Failed", "WarehouseUnreachable", 2), done
    assert PASSWORD not in everything
    assert_recovers(installation, name)


def test_a_run_over_its_deadline_names_the_step(installation, apply_phase2):
    """A slow source delays the facts until the deadline. Without the step's name, the cause would be hard to find."""
    name = apply_phase2(retries=0, timeout="45s")
    with installation.slow_table("sigeti.indemnisations", seconds=120):
        installation.request_run(name, "slow")
        done = installation.wait_for_run(name, "slow")
    assert (done["outcome"], done["reason"]) == ("Failed", "DeadlineExceeded"), done
    assert "2/6 facts" in done["message"]
    installation.kubectl("patch", "dashboardrefresh", name, "--type=merge", '-p={"spec":{"timeout":"5m"}}')
    assert_recovers(installation, name)


def test_a_pod_that_is_deleted_while_its_run_waits_for_somebody_goes_on_in_another(installation, apply_phase2):
    """F9, F22: status and log name table and session; the pod reports the interruption, and the next one keeps finished steps."""
    name = apply_phase2(retries=0, timeout="4m")
    assert_recovers(installation, name)
    with installation.locked_table("dwh_facts.fait_indemnisations") as session:
        installation.request_run(name, "deleted")
        waits = f"waiting for dwh_facts.fait_indemnisations, held by session {session} (dbt, somebody)"
        facts = watched_run(
            installation, name, lambda run: next((step for step in run["steps"] if step.get("message", "").startswith(waits)), None)
        )
        assert (facts["name"], facts["state"]) == ("facts", "Running")
        pod = installation.status(name)["run"]["pod"]
        assert waits in installation.kubectl("logs", pod)
        installation.kubectl("delete", "pod", pod, "--wait=false")
        interrupted = watched_run(installation, name, lambda run: run if run["phase"] == "Interrupted" else None)
        assert (interrupted["pod"], interrupted["message"]) == (pod, "interrupted by SIGTERM during 2/6 facts")
    done = installation.wait_for_run(name, "deleted")
    assert (done["outcome"], done["attempts"]) == ("Succeeded", 1), done
    run = installation.status(name)["run"]
    assert run["pod"] != pod
    assert run["steps"][0]["message"] == "3 models kept from an earlier attempt"


def watched_run(installation, name: str, until):
    return installation.kubectl.watch_until(
        "dashboardrefresh", name, until=lambda seen: until(seen.get("status", {}).get("run", {"steps": [], "phase": ""})), within=120
    )


@pytest.fixture
def rotating(installation):
    """A login for the warehouse with the usual role, and the name of its Secret."""
    installation.psql("create role rotating login password 'first-word' in role dbt; alter role rotating set role dbt")
    installation.kubectl("create", "secret", "generic", "rotating", "--from-literal=host=warehouse", "--from-literal=dbname=dwh")
    rotate(installation, user="rotating", password="first-word", sslmode="disable")
    yield "rotating"
    installation.kubectl("delete", "secret", "rotating")
    installation.psql("drop role rotating")


def rotate(installation, **values: str) -> None:
    installation.kubectl("patch", "secret", "rotating", "-p", json.dumps({"stringData": values}))


def test_a_password_that_was_changed_reaches_the_next_run(installation, apply_phase2, rotating):
    """F21: nobody edits the refresh. The control: until the Secret has the new password, a run fails, and logs neither password."""
    name = apply_phase2(retries=0, warehouse={"secretRef": {"name": rotating}}, **ONE_VIEW)
    assert_recovers(installation, name)
    installation.psql("alter role rotating password 'second-word'")
    installation.request_run(name, "old-password")
    failed = installation.wait_for_run(name, "old-password")
    assert (failed["outcome"], failed["reason"]) == ("Failed", "WarehouseUnreachable"), failed
    assert "password authentication failed" in failed["message"]
    rotate(installation, password="second-word")
    installation.request_run(name, "new-password")
    assert installation.wait_for_run(name, "new-password")["outcome"] == "Succeeded"
    assert not {"first-word", "second-word"} & set(installation.describe(name).replace("'", " ").replace('"', " ").split())


@pytest.fixture
def missing_image(installation):
    """An operator with a runner image that does not exist; the original one is restored afterwards."""
    installation.install_operator("runner.image.tag=missing")
    yield
    installation.install_operator()


@pytest.mark.usefixtures("missing_image")
def test_an_image_that_cannot_be_pulled_is_named(installation, apply_phase2):
    """ImagePullBackOff is visible while the pod waits, and is the reason once the run has failed."""
    name = apply_phase2(retries=0, startTimeout="8s", **ONE_VIEW)
    installation.request_run(name, "no-image")
    done = installation.wait_for_run(name, "no-image")
    assert (done["outcome"], done["reason"]) == ("Failed", "ImagePullFailed"), done
    assert "missing" in done["message"]
    installation.install_operator()
    assert_recovers(installation, name)


def running_message(installation, name: str) -> str:
    conditions = installation.status(name).get("conditions", [])
    return next((condition["message"] for condition in conditions if condition["type"] == "Running"), "")
