"""OpenLineage events of real runs, received by a real HTTP server and checked by OpenLineage's own classes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from refresh_api.status import Outcome
from support.openlineage import checked
from support.runner_harness import RunnerHarness, RunResult
from support.webserver import WebServer

Json = dict[str, Any]
PATH = "/api/v1/lineage"


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A server for events."""
    with WebServer() as server:
        yield server


def spec_of(runner: RunnerHarness, server: WebServer, **changes: object) -> Json:
    return runner.spec(cache=None, lineage={"url": server.url + PATH}, **changes)


def events_of(server: WebServer) -> list[Json]:
    """The received events, each checked."""
    assert {(asked.method, asked.path) for asked in server.asked} <= {("POST", PATH)}
    return [checked(json.loads(asked.body)) for asked in server.asked]


def ended(events: list[Json]) -> dict[str, Json]:
    """The last events of all jobs, by name. Each run has one event at its start and one at its end, and none before its start."""
    starts = {each["run"]["runId"]: each for each in events if each["eventType"] == "START"}
    ends = {each["run"]["runId"]: each for each in events if each["eventType"] != "START"}
    assert starts.keys() == ends.keys()
    assert len(events) == 2 * len(ends)
    assert all(starts[run]["eventTime"] <= end["eventTime"] and starts[run]["job"] == end["job"] for run, end in ends.items())
    return {each["job"]["name"]: each for each in ends.values()}


def outcome(ran: RunResult) -> Outcome | None:
    return ran.termination_message.outcome if ran.termination_message else None


def names(datasets: list[Json]) -> list[str]:
    return [each["name"].split(".", 1)[1] for each in datasets]


def test_a_run_is_described_with_its_steps_models_tables_and_tests(runner: RunnerHarness, server: WebServer) -> None:
    """Columns with their types, numbers of rows, the version that readers see, and what the tests found."""
    ran = runner.run(spec_of(runner, server))
    assert outcome(ran) is Outcome.SUCCEEDED, ran.output
    jobs = ended(events_of(server))
    steps, models = (
        ("staging", "facts", "marts", "tests", "validation"),
        ("dwh_staging.stg_lignes", "dwh_facts.fait_lignes", "dwh_facts.fait_jours", "dwh_marts.mart_a", "dwh_marts.mart_b"),
    )
    assert jobs.keys() == {"petit", *(f"petit.{name}" for name in (*steps, *models))}, ran.messages
    assert {each["eventType"] for each in jobs.values()} == {"COMPLETE"}
    whole = jobs["petit"]
    assert whole["job"]["namespace"] == "essai"
    assert {each["run"]["facets"]["parent"]["run"]["runId"] for name, each in jobs.items() if name != "petit"} == {whole["run"]["runId"]}
    assert names(whole["inputs"]) == ["src.lignes"]

    mart = jobs["petit.dwh_marts.mart_a"]
    (written,) = mart["outputs"]
    secret = runner.secrets["warehouse"]
    assert written["namespace"] == f"postgres://{secret['host']}:{secret['port']}"
    assert written["name"] == f"{secret['dbname']}.dwh_marts.mart_a"
    assert names(mart["inputs"]) == ["dwh_facts.fait_lignes"]
    fields = [(each["name"], each["type"]) for each in written["facets"]["schema"]["fields"]]
    assert fields == [("id", "integer"), ("zone", "integer"), ("mois", "integer")]
    assert written["facets"]["version"]["datasetVersion"] == f"petit-{runner.run_count}"
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 100
    (fact,), (view,) = jobs["petit.dwh_facts.fait_jours"]["outputs"], jobs["petit.dwh_staging.stg_lignes"]["outputs"]
    assert ("version" in fact["facets"], fact["outputFacets"]["outputStatistics"]["rowCount"]) == (False, 100)
    assert view["outputFacets"] == {}

    tested = {
        each["name"].split(".", 1)[1]: each["inputFacets"]["dataQualityAssertions"]["assertions"] for each in jobs["petit.tests"]["inputs"]
    }
    assert sorted((each["assertion"], each["column"], each["success"], each["severity"]) for each in tested["dwh_marts.mart_a"]) == [
        ("not_null", "id", True, "error"),
        ("unique", "id", True, "error"),
    ]
    assert [(each["assertion"], each["severity"]) for each in tested["dwh_marts.mart_b"]] == [("unique", "warn")]


def test_a_failed_run_says_what_failed(runner: RunnerHarness, server: WebServer) -> None:
    """Its marts are no outputs, since they are live as they were; a failing test is an assertion that does not hold."""
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = runner.run(spec_of(runner, server, tests={"select": ["tag:P2"], "failurePolicy": "Fail"}))
    assert outcome(ran) is Outcome.FAILED
    jobs = ended(events_of(server))
    assert {name for name, each in jobs.items() if each["eventType"] == "FAIL"} == {"petit", "petit.tests"}
    assert "unique" in jobs["petit"]["run"]["facets"]["errorMessage"]["message"]
    (assertions,) = [each["inputFacets"] for each in jobs["petit.tests"]["inputs"] if each["name"].endswith(".mart_a")]
    found = {each["assertion"]: each["success"] for each in assertions["dataQualityAssertions"]["assertions"]}
    assert found == {"not_null": True, "unique": False}
    assert sorted(names(jobs["petit"]["outputs"])) == ["dwh_facts.fait_jours", "dwh_facts.fait_lignes", "dwh_staging.stg_lignes"]
    assert (jobs["petit.dwh_marts.mart_a"]["eventType"], jobs["petit.dwh_marts.mart_a"]["outputs"]) == ("COMPLETE", [])


def test_a_model_that_fails_wrote_nothing(runner: RunnerHarness, server: WebServer) -> None:
    """Its job fails, with what it would have read."""
    runner.database.run("alter table src.lignes rename column mois to month")
    ran = runner.run(spec_of(runner, server, retries=0))
    assert outcome(ran) is Outcome.FAILED
    jobs = ended(events_of(server))
    view = jobs["petit.dwh_staging.stg_lignes"]
    assert (view["eventType"], names(view["inputs"]), view["outputs"]) == ("FAIL", ["src.lignes"], [])
    assert jobs["petit"]["outputs"] == []


def test_models_that_were_reused_are_not_described(runner: RunnerHarness, server: WebServer) -> None:
    """The run wrote nothing there. The run and its steps are described as always."""
    spec = spec_of(runner, server, unchangedPolicy="Reuse")
    assert outcome(runner.run(spec)) is Outcome.SUCCEEDED
    first = ended(events_of(server))
    server.asked.clear()
    ran = runner.run(spec)
    assert outcome(ran) is Outcome.SUCCEEDED, ran.output
    second = ended(events_of(server))
    assert {name for name in first if name.count(".") == 2} > {name for name in second if name.count(".") == 2}
    assert second["petit"]["eventType"] == "COMPLETE"


def test_an_attempt_before_another_one_sends_nothing(runner: RunnerHarness, server: WebServer) -> None:
    """A run has one end. Control: its last attempt does."""
    spec = spec_of(runner, server, warehouse={"secretRef": {"name": "warehouse"}}, retries=1)
    runner.secrets["warehouse"] = {**runner.database.secret, "port": "1"}
    first = runner.run(spec)
    assert outcome(first) is None, first.output
    assert server.asked == []
    runner.secrets["warehouse"] = runner.database.secret
    runner.run(spec, failures=1)
    assert events_of(server)


def test_the_authorization_is_sent_and_never_shown(runner: RunnerHarness, server: WebServer) -> None:
    """By a header. Without the key in the Secret, nothing is sent, and the log says so."""
    spec = spec_of(runner, server)
    spec["lineage"]["authorizationSecretRef"] = {"name": "lineage", "key": "token"}
    runner.secrets["lineage"] = {"token": "Bearer tres-secret-42"}
    ran = runner.run(spec)
    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer tres-secret-42"}
    assert "tres-secret-42" not in ran.output + "".join(asked.body for asked in server.asked)

    server.asked.clear()
    runner.secrets["lineage"] = {"token": ""}
    ran = runner.run(spec)
    assert outcome(ran) is Outcome.SUCCEEDED
    assert "lineage: not sent: the Secret 'lineage' has no key 'token'" in ran.messages
    assert server.asked == []


def test_a_secret_in_a_description_is_masked(runner: RunnerHarness, server: WebServer) -> None:
    """Descriptions are free text of the dbt project."""
    properties = runner.project / "models" / "properties.yml"
    before = properties.read_text()
    password = runner.secrets["warehouse"]["password"]
    text = json.dumps(f"Read with {password} please")
    properties.write_text(
        before.replace("{name: zone}, {name: mois}", f"{{name: zone, description: {text}}}, {{name: mois, description: The month}}", 1)
    )
    try:
        ran = runner.run(spec_of(runner, server))
    finally:
        properties.write_text(before)
    assert outcome(ran) is Outcome.SUCCEEDED, ran.output
    (written,) = ended(events_of(server))["petit.dwh_marts.mart_a"]["outputs"]
    described = {each["name"]: each.get("description") for each in written["facets"]["schema"]["fields"]}
    assert (described["id"], described["mois"]) == (None, "The month")
    assert "Read with" in described["zone"]
    assert password not in described["zone"]


@pytest.mark.parametrize("status", [302, 401, 500])
def test_a_server_that_refuses_changes_nothing(runner: RunnerHarness, server: WebServer, status: int) -> None:
    """The run has succeeded. Redirects are not followed, since their targets are not checked; the first refusal ends it."""
    server.statuses[PATH] = status
    server.headers["Location"] = "http://127.0.0.1:1/"
    ran = runner.run(spec_of(runner, server))
    assert outcome(ran) is Outcome.SUCCEEDED
    assert f"lineage: the server answered {status}; 0 of 22 events were sent" in ran.messages
    assert len(server.asked) == 1


@pytest.mark.slow
def test_a_server_that_does_not_answer_delays_the_pod_by_no_more_than_the_timeout(
    runner: RunnerHarness, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the warehouse is free, and the run's result is reported."""
    monkeypatch.setattr("refresh_runner.lineage.send.TIMEOUT", 2.0)
    server.slow.add(PATH)
    begun = time.monotonic()
    ran = runner.run(spec_of(runner, server))
    took = time.monotonic() - begun
    assert outcome(ran) is Outcome.SUCCEEDED
    assert "lineage: no answer in time; 0 of 22 events were sent" in ran.messages
    server.wake()
    server.slow.clear()
    server.asked.clear()
    begun = time.monotonic()
    runner.run(spec_of(runner, server))
    assert took < time.monotonic() - begun + 4


def test_the_warehouse_is_free_while_events_are_sent(runner: RunnerHarness, server: WebServer) -> None:
    """Another run could start: no session of the run holds the lock."""
    held: list[object] = []
    server.on_request = lambda: held.extend(runner.held())
    assert outcome(runner.run(spec_of(runner, server))) is Outcome.SUCCEEDED
    assert len(server.asked) == 22
    assert held == []


def test_metadata_services_are_refused(runner: RunnerHarness) -> None:
    """As for each address that users choose."""
    ran = runner.run(runner.spec(cache=None, lineage={"url": "http://169.254.169.254/latest"}))
    assert outcome(ran) is Outcome.SUCCEEDED
    assert "lineage: the server cannot be reached" in ran.messages


@pytest.mark.slow
def test_without_a_server_nothing_of_it_is_loaded(runner: RunnerHarness) -> None:
    """A run that sends no events pays nothing for them. Control: with a server, the module is loaded."""
    start = "import sys; from refresh_runner.__main__ import main; main(sys.argv[1:])"
    probe = f"{start}; print('loaded:', 'refresh_runner.lineage' in sys.modules)"
    for lineage, loaded in ((None, False), ({"url": "http://127.0.0.1:1/"}, True)):
        environment = {**runner.pod_environment(runner.spec(cache=None, lineage=lineage))}
        words = ["run", "--project", str(runner.project), "--secrets", str(runner._mounted()), "--termination-log", str(runner._words())]
        done = subprocess.run(
            [sys.executable, "-c", probe, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert f"loaded: {loaded}" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
