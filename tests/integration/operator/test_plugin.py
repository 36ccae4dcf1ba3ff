"""kubectl dashboardrefresh, as people call it; on a real API server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.eventually import eventually


@pytest.fixture
def calls() -> Iterator[ThreadPoolExecutor]:
    """Commands that go on beside the test."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def plugin(operator, *words: str, kubeconfig=None) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "refresh_cli",
        *words,
        "-n",
        operator.namespace,
        f"--kubeconfig={kubeconfig or operator.kubectl.kubeconfig}",
    ]
    environment = {**os.environ, "KUBECTL": operator.kubectl.program}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("code", "outcome"), [(0, "Succeeded"), (1, "Failed")])
def test_run_and_wait_ends_with_the_runs_exit_code(running_operator, calls, code, outcome):
    """It follows the run, and tells its result; for programs as JSON."""
    name = f"plugin-{code}"
    running_operator.create_refresh(name, retries=0)
    running_operator.wait_until_ready(name)
    call = calls.submit(plugin, running_operator, "run", name, "--wait", "-o", "json")
    job = running_operator.wait_for_job(name)
    running_operator.report_run(name, job, outcome=outcome, reason="Succeeded" if code == 0 else "LayerFailed")
    running_operator.end_pod(job, code)
    done = call.result(60)
    assert done.returncode == code, done.stderr
    assert (json.loads(done.stdout)["id"], json.loads(done.stdout)["outcome"]) == (job, outcome)
    assert job in plugin(running_operator, "history", name).stdout
    assert outcome in plugin(running_operator, "status", name).stdout


def test_a_run_is_cancelled_and_a_wrong_mode_refused(running_operator, calls):
    """The one under way unless one is named; the refusal is the operator's, in its words."""
    running_operator.create_refresh("plugin-cancel")
    running_operator.wait_until_ready("plugin-cancel")
    call = calls.submit(plugin, running_operator, "run", "plugin-cancel", "--wait")
    job = running_operator.wait_for_job("plugin-cancel")
    running_operator.wait_for(lambda: running_operator.status("plugin-cancel").get("active"), 10, "plugin-cancel")
    assert job in plugin(running_operator, "cancel", "plugin-cancel").stdout
    assert call.result(60).returncode == 1
    refused = plugin(running_operator, "run", "plugin-cancel", "--wait", "--mode", "from=mart")
    assert (refused.returncode, "there is no step 'mart'" in refused.stderr) == (2, True)


def test_suspend_and_resume_change_the_spec(running_operator):
    """And `next` tells the difference."""
    running_operator.create_refresh("plugin-sleep")
    running_operator.wait_until_ready("plugin-sleep")
    assert plugin(running_operator, "next", "plugin-sleep").stdout.splitlines()[0] == "NEXT"
    assert plugin(running_operator, "suspend", "plugin-sleep").returncode == 0
    running_operator.wait_for(lambda: running_operator.status("plugin-sleep")["phase"] == "Suspended", 10, "plugin-sleep")
    assert "spec.suspend" in plugin(running_operator, "next", "plugin-sleep").stdout
    assert plugin(running_operator, "resume", "plugin-sleep").returncode == 0
    running_operator.wait_for(lambda: running_operator.status("plugin-sleep")["phase"] == "Scheduled", 10, "plugin-sleep")
    assert plugin(running_operator, "suspend", "plugin-sleep", "--for", "2h").returncode == 0
    running_operator.wait_for(
        lambda: running_operator.condition("plugin-sleep", "Suspended") == ("True", "SuspendedUntil"), 10, "plugin-sleep"
    )
    assert plugin(running_operator, "resume", "plugin-sleep").returncode == 0
    running_operator.wait_for(lambda: running_operator.status("plugin-sleep")["phase"] == "Scheduled", 10, "plugin-sleep")
    assert "lastHandledResetAt" in running_operator.status("plugin-sleep")


def test_a_missing_permission_is_named(running_operator):
    """The operator itself may not edit refreshes: it serves as a user who may read them only."""
    running_operator.create_refresh("plugin-rights")
    own = running_operator.home / f"{running_operator.namespace}.kubeconfig"
    assert plugin(running_operator, "history", "plugin-rights", kubeconfig=own).returncode == 0
    refused = plugin(running_operator, "suspend", "plugin-rights", kubeconfig=own)
    assert refused.returncode == 2
    assert "need get and patch on dashboardrefreshes" in refused.stderr
    refused = plugin(running_operator, "artifacts", "plugin-rights", "a-run", kubeconfig=own)
    assert (refused.returncode, "list on services, and get on services/proxy" in refused.stderr) == (2, True)


def test_artifacts_without_a_page_say_so(running_operator):
    """And how to get at them else."""
    running_operator.create_refresh("plugin-files")
    told = plugin(running_operator, "artifacts", "plugin-files")
    assert (told.returncode, "no run has ended yet" in told.stderr) == (2, True)
    told = plugin(running_operator, "artifacts", "plugin-files", "a-run")
    assert (told.returncode, "there is no page that could be asked" in told.stderr) == (2, True), told.stderr


def test_a_page_without_a_pod_is_named(fresh_operator):
    """With what to look at."""
    operator = fresh_operator
    operator.create_refresh("plugin-page")
    labels = {"app.kubernetes.io/name": "dashboard-refresh-page", "dashboards.sigeti.io/watches": "namespace"}
    service = {"selector": labels, "ports": [{"name": "http", "port": 80}]}
    operator.api.create(operator.namespace, "services", {"metadata": {"name": "page", "labels": labels}, "spec": service})

    def no_pod() -> bool:
        told = plugin(operator, "artifacts", "plugin-page", "a-run")
        assert f"{operator.namespace}/page) has no pod that is ready" in told.stderr, told.stderr
        return told.returncode == 2

    eventually(no_pod, within=10)


def test_nothing_that_others_wrote_is_an_escape_sequence_at_the_terminal(running_operator):
    """Whoever may write a status, or a row that a test found, owns no terminal. The control: the object holds them."""
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202erun x: Succeeded\r\nplugin-escape: Running"
    running_operator.create_refresh("plugin-escape")
    running_operator.wait_until_ready("plugin-escape")
    step = {"name": hostile[:20], "state": "Failed", "message": hostile}
    mart = {"relation": hostile, "verdict": "FAILED", "message": hostile}
    ended = {"outcome": "Failed", "reason": "LayerFailed", "message": hostile}
    running_operator.report_run("plugin-escape", "x" + hostile, steps=[step], validation=[mart], **ended)
    running_operator.api.patch(
        running_operator.namespace,
        "dashboardrefreshes",
        "plugin-escape",
        {"status": {"message": hostile, "nextRuns": [hostile], "next": hostile}},
        status=True,
    )
    raw = running_operator.kubectl("get", "dr", "plugin-escape", "-o", "jsonpath={.status.run.message}")
    assert "\x1b" in raw
    for words in (["status"], ["history"], ["next"], ["status", "-o", "json"]):
        done = plugin(running_operator, words[0], "plugin-escape", *words[1:])
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        assert all(letter in "\n\t" or letter.isprintable() for letter in said), ascii(said)
        assert "\nplugin-escape: Running" not in said
    assert "\\u001b[2J" in plugin(running_operator, "status", "plugin-escape").stdout
