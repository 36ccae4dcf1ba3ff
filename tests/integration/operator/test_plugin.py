"""`kubectl dashboardrefresh` as a process, on a real API server."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.eventually import eventually
from support.guide import all_blocks
from support.plugin import plugin
from support.previews import PREVIEWS, previewable, report_differences, wait_for_state


@pytest.fixture
def calls() -> Iterator[ThreadPoolExecutor]:
    """Run commands in the background of a test."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize(("code", "outcome"), [(0, "Succeeded"), (1, "Failed")])
def test_run_wait_exits_with_the_exit_code_of_the_run(running_operator, calls, code, outcome):
    """A pipeline that starts a refresh must fail when the refresh fails."""
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


def test_a_run_is_cancelled_and_an_invalid_mode_is_rejected(running_operator, calls):
    """Without a run id, the current run is cancelled. The rejection shows the operator's message."""
    running_operator.create_refresh("plugin-cancel")
    running_operator.wait_until_ready("plugin-cancel")
    call = calls.submit(plugin, running_operator, "run", "plugin-cancel", "--wait")
    job = running_operator.wait_for_job("plugin-cancel")
    running_operator.wait_for(lambda: running_operator.status("plugin-cancel").get("active"), 10, "plugin-cancel")
    assert job in plugin(running_operator, "cancel", "plugin-cancel").stdout
    assert call.result(60).returncode == 1
    rejected = plugin(running_operator, "run", "plugin-cancel", "--wait", "--mode", "from=mart")
    assert (rejected.returncode, "no step is named 'mart'" in rejected.stderr) == (2, True)


@pytest.mark.slow
def test_suspend_and_resume_change_the_spec(running_operator):
    """`next` explains why no run is scheduled."""
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
    """The operator's own account may read refreshes but not patch them, so it serves as a restricted user."""
    running_operator.create_refresh("plugin-rights")
    own = running_operator.home / f"{running_operator.namespace}.kubeconfig"
    assert plugin(running_operator, "history", "plugin-rights", kubeconfig=own).returncode == 0
    rejected = plugin(running_operator, "suspend", "plugin-rights", kubeconfig=own)
    assert rejected.returncode == 2
    assert "need get and patch on dashboardrefreshes" in rejected.stderr
    rejected = plugin(running_operator, "artifacts", "plugin-rights", "a-run", kubeconfig=own)
    assert (rejected.returncode, "list on services, and get on services/proxy" in rejected.stderr) == (2, True)


def test_artifacts_without_a_page_say_so(running_operator):
    """The message names the alternative: `refresh-runner artifacts`."""
    running_operator.create_refresh("plugin-files")
    result = plugin(running_operator, "artifacts", "plugin-files")
    assert (result.returncode, "no run has finished yet" in result.stderr) == (2, True)
    result = plugin(running_operator, "artifacts", "plugin-files", "a-run")
    assert (result.returncode, "no page found" in result.stderr) == (2, True), result.stderr


def test_a_page_without_a_pod_is_named(fresh_operator):
    """The message names the Service and the command that shows its pods."""
    operator = fresh_operator
    operator.create_refresh("plugin-page")
    labels = {"app.kubernetes.io/name": "dashboard-refresh-page", "dashboards.sigeti.io/watches": "namespace"}
    service = {"selector": labels, "ports": [{"name": "http", "port": 80}]}
    operator.api.create(operator.namespace, "services", {"metadata": {"name": "page", "labels": labels}, "spec": service})

    def no_pod() -> bool:
        result = plugin(operator, "artifacts", "plugin-page", "a-run")
        assert f"{operator.namespace}/page) has no ready pod" in result.stderr, result.stderr
        return result.returncode == 2

    eventually(no_pod, within=10)


@pytest.mark.slow
def test_escape_sequences_from_the_cluster_never_reach_the_terminal(running_operator):
    """A message in a status could otherwise control the terminal of whoever reads it. Control: the object contains the sequences."""
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
        {"status": {"message": hostile, "nextScheduleTimes": [hostile], "next": hostile}},
        status=True,
    )
    raw = running_operator.kubectl("get", "dr", "plugin-escape", "-o", "jsonpath={.status.run.message}")
    assert "\x1b" in raw
    for words in (["status"], ["history"], ["next"], ["status", "-o", "json"]):
        done = plugin(running_operator, words[0], "plugin-escape", *words[1:])
        assert done.returncode == 0, done.stderr
        output = done.stdout + done.stderr
        assert all(letter in "\n\t" or letter.isprintable() for letter in output), ascii(output)
        assert "\nplugin-escape: Running" not in output
    assert "\\u001b[2J" in plugin(running_operator, "status", "plugin-escape").stdout


@pytest.mark.slow
def test_a_preview_is_requested_followed_and_printed_by_an_account_that_may_do_nothing_else(create_operator, calls, tmp_path):
    """As a pipeline runs it. Its exit code says whether readers would see a difference that was not expected."""
    operator = create_operator(PROJECTS_ALLOWED_URLS="https://git.example.org/data/*", RECHECK="1s")
    operator.start()
    previewable(operator, "velos")
    (account,) = (block for block in all_blocks("yaml", "objects") if block.page == "preview")
    operator.kubectl.apply(account.text.replace("namespace: dashboards}", f"namespace: {operator.namespace}}}"))
    kubeconfig = tmp_path / "ci.kubeconfig"
    config = json.loads(operator.kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": operator.api.token(operator.namespace, "preview-requester")}
    kubeconfig.write_text(json.dumps(config))
    for options, code in (
        (("--var", "n=5", "--select", "mart_a tag:x"), 3),
        (("--allow", "changed", "added", "--sample-rows", "5000"), 0),
        (("-o", "markdown"), 3),
    ):
        call = calls.submit(plugin, operator, "preview", "velos", "--branch", "fix", *options, kubeconfig=kubeconfig)
        (name,) = eventually(lambda: [each["metadata"]["name"] for each in operator.api.items(operator.namespace, PREVIEWS)], within=20)
        body = operator.api.get(operator.namespace, PREVIEWS, name)["spec"]
        assert (body["ref"], body["variables"]) == ({"branch": "fix"}, {"n": "5"} if "--var" in options else {})
        assert body.get("sampleRows") == (5000 if "--sample-rows" in options else None)
        assert body["select"] == (["mart_a", "tag:x"] if "--select" in options else [])
        wait_for_state(operator, name, "Running")
        report_differences(operator, name, unexpected=["Changed"] if code else [])
        done = call.result(60)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith(f"preview {name} requested\n")
        heading = "### " if "markdown" in options else ""
        assert done.stdout.startswith("velos: fix@0badcafe compared with main@6e27e9a9, which is live\n\n")
        assert f"{heading}marts.a: 9 → 9 rows: 0 added, 0 removed, 2 changed (by id)" in done.stdout
        operator.api.delete(operator.namespace, PREVIEWS, name)
        eventually(lambda: not operator.api.items(operator.namespace, PREVIEWS), within=20)
    invalid = plugin(operator, "preview", "velos", "--branch", "fix", "--select=--threads", kubeconfig=kubeconfig)
    assert (invalid.returncode, invalid.stderr.startswith("error: --select: '--threads': write one dbt selector")) == (2, True)
    rows = plugin(operator, "preview", "velos", "--branch", "fix", "--rows", "5", kubeconfig=kubeconfig)
    assert (rows.returncode, rows.stdout) == (2, "")
    assert rows.stderr.startswith("error: --rows: a preview in the cluster reports figures only")
    assert "refresh-runner preview FILE --project git+URL@fix --base git+URL@LIVE --rows 5" in rows.stderr
    assert operator.api.items(operator.namespace, PREVIEWS) == []
    refused = plugin(operator, "preview", "nobody", "--branch", "fix", kubeconfig=kubeconfig)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "failed: there is no DashboardRefresh nobody in this namespace" in refused.stderr
    denied = plugin(operator, "status", "velos", kubeconfig=kubeconfig)
    assert denied.returncode == 2
    assert "forbidden" in denied.stderr


@pytest.mark.parametrize(("refused", "code"), [(False, 0), (True, 1)])
def test_notify_prints_which_channels_accepted_the_test_message(running_operator, calls, refused, code):
    """The run reports them; the plugin reads no Secret. A refused message makes a pipeline fail. No counter and no condition changes."""
    name = f"plugin-notify-{code}"
    running_operator.create_refresh(name, retries=0)
    running_operator.wait_until_ready(name)
    call = calls.submit(plugin, running_operator, "notify", name, "--test")
    job = running_operator.wait_for_job(name)
    answer = {"sent": False, "message": "Slack answered 403"} if refused else {"sent": True}
    sent = [{"channel": "#phase2-alerts", **answer}, {"channel": "admin@sigeti.local", "sent": True}]
    running_operator.report_run(name, job, outcome="Skipped", reason="NotificationsTested", marts=None, notifications=sent)
    running_operator.end_pod(job, 0)
    done = call.result(60)
    assert done.returncode == code, done.stderr
    assert "admin@sigeti.local" in done.stdout
    assert ("Slack answered 403" in done.stdout) == refused
    assert running_operator.status(name)["history"][0]["mode"] == "notify"
    assert running_operator.condition(name, "LastRunSucceeded")[0] == "Unknown"
    assert "lastSuccessTime" not in running_operator.status(name)
    assert "--test" in plugin(running_operator, "notify", name).stderr
