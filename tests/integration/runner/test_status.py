"""The runner's part of the status, on a real API server, with only a run's permissions."""

from __future__ import annotations

import base64
import itertools
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from zlib import crc32

import psycopg
import pytest

from cluster.ports import free_port
from refresh_api.run_request import RefreshRef
from refresh_api.status import Outcome, Reason, Run, RunPhase
from refresh_runner.core.secrets import Redactor
from refresh_runner.postgres.advisory_lock import REFRESH_NAMESPACE
from refresh_runner.report.api_server import ApiServer
from refresh_runner.report.status_writer import RunStatusWriter
from support.eventually import eventually
from support.kubectl import Kubectl
from support.runner_harness import SLOWNESS, Json, RunnerHarness, hold_advisory_lock, in_background
from support.webserver import WebServer

_numbers = itertools.count(1)
PASSWORD = "p%40:/'\"$"


@dataclass(frozen=True)
class Home:
    """A refresh on the API server, with the environment of its pods."""

    kubectl: Kubectl
    ref: RefreshRef
    server: ApiServer

    def status(self) -> Json:
        """Return the current status."""
        found: Json = json.loads(self.kubectl("get", "dr", self.ref.name, "-o", "json"))
        status: Json = found.get("status", {})
        return status

    def run(self) -> Json:
        """Return the run in its status; empty as long as there is none."""
        found: Json = self.status().get("run", {})
        return found

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables that locate the API server in a pod."""
        address = urlsplit(self.server.url)
        return {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}


@pytest.fixture
def home(contract: Kubectl, runner: RunnerHarness, tmp_path: Path) -> Home:
    """A namespace with a refresh, and a service account that may patch its status."""
    kubectl = contract.within(f"run-{next(_numbers)}")
    kubectl("create", "namespace", kubectl.namespace)
    rule = {
        "apiGroups": ["dashboards.sigeti.io"],
        "resources": ["dashboardrefreshes/status"],
        "resourceNames": ["petit"],
        "verbs": ["patch"],
    }
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "petit"}
    subject = {"kind": "ServiceAccount", "name": "petit", "namespace": kubectl.namespace}
    objects: list[Json] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "petit"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "petit"}, "rules": [rule]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "petit"},
            "roleRef": role,
            "subjects": [subject],
        },
        {
            "apiVersion": "dashboards.sigeti.io/v1alpha1",
            "kind": "DashboardRefresh",
            "metadata": {"name": "petit"},
            "spec": runner.spec(),
        },
    ]
    for each in objects:
        kubectl.apply(json.dumps(each))
    config = json.loads(kubectl.kubeconfig.read_text())["clusters"][0]["cluster"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(config["certificate-authority-data"]))
    (tmp_path / "token").write_text(kubectl("create", "token", "petit"))
    uid = kubectl("get", "dr", "petit", "-o", "jsonpath={.metadata.uid}").strip()
    ref = RefreshRef(name="petit", namespace=kubectl.namespace, uid=uid)
    return Home(kubectl, ref, ApiServer(config["server"], tmp_path))


def now() -> datetime:
    return datetime.now(UTC)


def a_run(**changes: object) -> Run:
    run = Run(id="petit-1", generation=1, phase=RunPhase.RUNNING, attempt=1, attempts=3, start_time=now(), heartbeat_time=now())
    return run.model_copy(update=changes)


def writer(home: Home, ref: RefreshRef | None = None, heartbeat: float = 60) -> RunStatusWriter:
    return RunStatusWriter(home.server, ref or home.ref, Redactor([PASSWORD]), now, heartbeat)


def test_the_whole_share_is_written_and_the_operators_is_left_alone(home: Home):
    """The status has two writers. Fields that a later run does not have are removed."""
    operators = {"status": {"message": "the operator's"}}
    home.kubectl("patch", "dr", "petit", "--subresource=status", "--type=merge", "-p", json.dumps(operators))
    status = writer(home)
    status.enable()
    status.update(a_run(step="1/6 staging", message="underway"))
    eventually(lambda: home.run().get("step") == "1/6 staging", within=10)
    status.update(a_run(phase=RunPhase.FINISHED))
    assert status.finish(10)
    found = home.status()
    assert (found["message"], found["run"]["phase"], found["run"].get("step"), found["run"].get("message")) == (
        "the operator's",
        "Finished",
        None,
        None,
    )


def test_a_run_that_may_not_speak_writes_nothing(home: Home):
    """The status may show another run of the refresh."""
    status = writer(home)
    status.update(a_run())
    assert not status.finish(1)
    assert "run" not in home.status()


def test_a_recreated_refresh_is_not_written(home: Home):
    """It has the same name, but is another object."""
    ref = home.ref.model_copy(update={"uid": "00000000-0000-0000-0000-000000000000"})
    status = writer(home, ref)
    status.enable()
    status.update(a_run())
    status.finish(5)
    assert "run" not in home.status()


def test_signs_of_life_come_without_news(home: Home):
    """During a long step, only the heartbeat changes."""
    status = writer(home, heartbeat=0.5)
    status.enable()
    status.update(a_run(heartbeat_time=datetime(2026, 1, 1, tzinfo=UTC)))
    eventually(lambda: home.run().get("heartbeatTime", "") > "2026-01-02", within=10)
    first = home.run()["heartbeatTime"]
    eventually(lambda: home.run()["heartbeatTime"] > first, within=10)
    status.finish(5)


def test_a_secret_in_a_message_does_not_reach_the_status(home: Home):
    """In every form in which it may be quoted."""
    status = writer(home)
    status.enable()
    status.update(a_run(message=f"connection to postgresql://u:{PASSWORD}@db failed: {PASSWORD!r}"))
    assert status.finish(10)
    message = home.status()["run"]["message"]
    assert "***" in message
    assert "p%40" not in message


def test_a_password_that_is_a_word_of_the_contract_breaks_nothing(home: Home):
    """Somebody may use `Running`, or the refresh's name, as a password."""
    status = RunStatusWriter(home.server, home.ref, Redactor(["Running", "petit"]), now)
    status.enable()
    status.update(a_run(message="Running as petit"))
    assert status.finish(10)
    run = home.status()["run"]
    assert (run["id"], run["phase"], run["message"]) == ("petit-1", "Running", "*** as ***")


def test_an_api_server_that_is_away_holds_nobody_up(home: Home):
    """`update` returns at once, and the wait at the end is limited."""
    status = RunStatusWriter(replace(home.server, url=f"https://127.0.0.1:{free_port()}"), home.ref, Redactor(), now)
    status.enable()
    started = time.monotonic()
    for number in range(100):
        status.update(a_run(step=f"{number}/100"))
    assert time.monotonic() - started < 0.5
    assert not status.finish(1)
    assert time.monotonic() - started < 3


def test_a_run_reports_itself_to_its_refresh(home: Home, runner: RunnerHarness):
    """The status has steps, verdicts, tests and endpoints in readable form."""
    runner.ref, runner.account = home.ref, home.server.account
    ran = runner.run(None, 0, **home.variables)
    assert ran.code == 0, ran.output
    run = home.status()["run"]
    assert (run["phase"], run["outcome"], run["reason"], run["marts"]) == ("Finished", "Succeeded", "Succeeded", "2/2")
    assert [(step["name"], step["state"]) for step in run["steps"]] == [
        (name, "Succeeded") for name in ("staging", "facts", "marts", "tests", "validation", "cache")
    ]
    assert [(mart["relation"], mart["verdict"], mart["rows"]) for mart in run["validation"]] == [
        ("dwh_marts.mart_a", "VALID", 100),
        ("dwh_marts.mart_b", "VALID", 100),
    ]
    assert (run["tests"]["passed"], run["attempt"], run["attempts"], run["generation"]) == (3, 1, 3, 3)
    assert [endpoint["state"] for endpoint in run["endpoints"]] == ["Succeeded", "Succeeded"]


def test_a_run_goes_on_without_an_api_server(home: Home, runner: RunnerHarness):
    """The termination message and the row in the log have the result."""
    runner.ref, runner.account = home.ref, home.server.account
    ran = runner.run(KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=str(free_port()))
    assert ran.code == 0
    assert "cannot write the status, retrying" in ran.messages
    assert ran.termination_message is not None
    assert ran.termination_message.marts == "2/2"
    assert runner.log_rows()[0][0] is True


def test_a_run_that_waits_for_another_refresh_says_so(home: Home, runner: RunnerHarness):
    """It is the only run of its refresh, and its status should explain why nothing happens."""
    runner.ref, runner.account = home.ref, home.server.account

    def look(connection: psycopg.Connection) -> None:
        run = eventually(lambda: home.status().get("run"), within=30 * SLOWNESS)
        assert (run["phase"], run["message"]) == ("Waiting", "waiting for other-run, which holds the warehouse lock")
        connection.close()

    with hold_advisory_lock(runner) as connection, in_background(lambda: look(connection)):
        assert runner.run(runner.spec(lock={"policy": "Wait", "waitTimeout": "60s"}), 0, **home.variables).code == 0


def test_a_run_that_waits_for_its_own_refresh_is_silent(home: Home, runner: RunnerHarness):
    """The status belongs to the other run."""
    runner.ref, runner.account = home.ref, home.server.account
    with hold_advisory_lock(runner) as connection:
        key = crc32(f"{home.ref.namespace}/{home.ref.name}".encode()) - 2**31
        connection.execute("select pg_advisory_lock(%s, %s)", (REFRESH_NAMESPACE, key))
        ran = runner.run(runner.spec(lock={"policy": "Wait", "waitTimeout": "2s"}), 0, **home.variables)
    assert ran.termination_message is not None
    assert ran.termination_message.reason is Reason.LOCK_HELD
    assert "run" not in home.status()


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not seen"])
def test_a_failure_that_others_may_share_is_left_to_an_operator_that_has_seen_the_run(home: Home, runner: RunnerHarness, seen: bool):
    """Chats only: programs are told by the run. The control is a run that the operator has not recorded: it may be down."""
    runner.ref, runner.account = home.ref, home.server.account
    active = {"status": {"active": [{"id": "petit-7", "trigger": "Scheduled", "startTime": "2026-03-03T12:00:00Z"}] if seen else []}}
    home.kubectl("patch", "dr", "petit", "--subresource=status", "--type=merge", "-p", json.dumps(active))
    runner.secrets["warehouse"]["port"] = str(free_port())
    with WebServer() as slack, WebServer() as program:
        runner.secrets |= {"slack": {"url": f"{slack.url}/T0/B0/x"}, "hook": {"url": f"{program.url}/hook"}}
        chat = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}
        spec = runner.spec(notifications=[chat, {"webhook": {"secretRef": {"name": "hook"}}}])
        variables = {**home.variables, "RUN_ID": "petit-7", "REFRESH_COMBINES_NOTIFICATIONS": "true"}
        assert runner.run(spec, 2, **variables).code == 1
        words = runner.run(spec, 2, **variables).termination_message
        assert (len(slack.asked), len(program.asked)) == (0 if seen else 2, 2)
    assert words is not None
    assert (words.reason, words.notified, bool(words.left_to_operator)) == (Reason.WAREHOUSE_UNREACHABLE, True, seen)
    run = home.status()["run"]
    assert (run.get("leftToOperator"), run["phase"]) == (True if seen else None, "Finished")
    assert [each["channel"] for each in run["notifications"]] == (["webhook (hook)"] if seen else ["#a", "webhook (hook)"])


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not seen"])
def test_a_failure_in_quiet_hours_is_left_to_an_operator_that_has_seen_the_run(home: Home, runner: RunnerHarness, seen: bool):
    """Which notifies when they end. The controls: a channel that is not quiet, and an operator that may be down."""
    runner.ref, runner.account = home.ref, home.server.account
    active = {"status": {"active": [{"id": "petit-7", "trigger": "Scheduled", "startTime": "2026-03-03T12:00:00Z"}] if seen else []}}
    home.kubectl("patch", "dr", "petit", "--subresource=status", "--type=merge", "-p", json.dumps(active))
    runner.database.run("truncate src.lignes")
    quiet = [{"start": f"{now() - timedelta(hours=1):%H:%M}", "end": f"{now() + timedelta(hours=1):%H:%M}"}]
    with WebServer() as slack:
        runner.secrets |= {"slack": {"url": f"{slack.url}/T0/B0/x"}}
        chat: Json = {"channel": "#loud", "webhookSecretRef": {"name": "slack", "key": "url"}}
        channels: list[Json] = [{"slack": chat}, {"slack": {**chat, "channel": "#quiet"}, "quietHours": quiet}]
        spec = runner.spec(notifications=channels, timeZone="Etc/UTC")
        variables = {**home.variables, "RUN_ID": "petit-7", "REFRESH_COMBINES_NOTIFICATIONS": "true"}
        words = runner.run(spec, 2, **variables).termination_message
        assert sorted(json.loads(asked.body)["channel"] for asked in slack.asked) == (["#loud"] if seen else ["#loud", "#quiet"])
    assert words is not None
    assert (words.outcome, words.notified, words.left_to_operator) == (Outcome.FAILED, True, None)
