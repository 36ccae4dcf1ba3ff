"""Traces of real runs, received by a real OpenTelemetry collector; and servers that refuse, are silent or are not there."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from refresh_api.status import Outcome
from support.otel_collector import Collector, Span
from support.runner_harness import RunnerHarness, RunResult
from support.webserver import WebServer

Json = dict[str, Any]
PATH = "/v1/traces"
TOKEN = "tres-secret-jeton-42"
built = pytest.mark.timeout(1200)
"""Of tests that may have to build the collector."""


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector that takes spans from everybody; the first one on a machine is built, which takes minutes."""
    with Collector(tmp_path_factory.mktemp("collector")) as collector:
        yield collector


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A server that is no collector."""
    with WebServer(body="") as server:
        yield server


def outcome(ran: RunResult) -> Outcome | None:
    return ran.termination_message.outcome if ran.termination_message else None


def traced(runner: RunnerHarness, url: str, spec: Json | None = None, **further: Any) -> RunResult:
    """Run an attempt with the variable that switches traces on."""
    return runner.run(spec or runner.spec(cache=None), OTEL_EXPORTER_OTLP_ENDPOINT=url, **further)


def spans_of(collector: Collector, *attempts: RunResult) -> list[Span]:
    """The spans of the attempts of a run, of which their logs name the number and the trace."""
    (found,) = {(re.search(r"traces: \d+ spans sent, trace ([0-9a-f]{32})", ran.messages) or [ran.messages, ""])[1] for ran in attempts}
    return collector.trace(found, sum(int(each) for ran in attempts for each in re.findall(r"traces: (\d+) spans sent", ran.messages)))


@built
@pytest.mark.slow
def test_a_run_is_a_trace_of_its_steps_and_nodes(runner: RunnerHarness, collector: Collector) -> None:
    """Each node is in its step, each step in the run, in time as well. Nodes are those of the run log; nothing tells any SQL."""
    begun = time.time_ns()
    ran = traced(
        runner,
        collector.url,
        RUN_ID="petit-trace",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=essai,team=bi%20et%20data",
        OTEL_SERVICE_NAME="rafraichissement",
    )
    assert outcome(ran) is Outcome.SUCCEEDED, ran.output
    spans = {span.name: span for span in spans_of(collector, ran)}
    run = spans["run petit"]
    parents = {name: next((each.name for each in spans.values() if each.id == span.parent), "") for name, span in spans.items()}
    tests = {name for name in spans if name.startswith("test ")}
    assert len(tests) == 3
    assert parents == {
        "run petit": "",
        **{f"step {name}": "run petit" for name in ("staging", "facts", "marts", "tests", "validation")},
        "model stg_lignes": "step staging",
        **{f"model fait_{name}": "step facts" for name in ("lignes", "jours")},
        **{f"model mart_{name}": "step marts" for name in "ab"},
        **dict.fromkeys(tests, "step tests"),
    }
    known = runner.database.rows("select node_id from dbt_refresh_node where run_id = 'petit-trace'")
    assert {span.attributes["dbt.node.id"] for span in spans.values() if "dbt.node.id" in span.attributes} == {id_ for (id_,) in known}
    for span in spans.values():
        above = next((each for each in spans.values() if each.id == span.parent), None)
        assert begun < span.start <= span.end < time.time_ns()
        assert above is None or above.start <= span.start <= span.end <= above.end, (span, above)

    assert run.attributes == {
        "dashboard_refresh.name": "petit",
        "dashboard_refresh.run.id": "petit-trace",
        "dashboard_refresh.run.attempt": 1,
        "dashboard_refresh.run.attempts": 3,
        "dashboard_refresh.run.outcome": "Succeeded",
        "dashboard_refresh.run.reason": "Succeeded",
        "dashboard_refresh.data_version": "petit-trace",
    }
    secret, mart = runner.secrets["warehouse"], spans["model mart_a"].attributes
    assert {key: value for key, value in mart.items() if key.startswith(("db.", "server."))} == {
        "db.system.name": "postgresql",
        "db.namespace": secret["dbname"],
        "db.collection.name": "dwh_marts.mart_a",
        "server.address": secret["host"],
        "server.port": int(secret["port"]),
    }
    assert (mart["dbt.node.status"], mart["dbt.node.rows_affected"]) == ("success", 100)
    assert (
        run.resource.items()
        >= {
            "service.name": "rafraichissement",
            "deployment.environment.name": "essai",
            "team": "bi et data",
            "k8s.namespace.name": "essai",
            "k8s.pod.name": f"petit-{runner.run_count}-0",
        }.items()
    )
    assert not [span for span in spans.values() if span.error is not None]
    whole = str(spans)
    assert "select" not in whole
    assert secret["password"] not in whole


@built
@pytest.mark.slow
def test_a_failed_run_says_where_it_failed(runner: RunnerHarness, collector: Collector) -> None:
    """By the reason and dbt's status. Messages, which may quote SQL and rows, are not sent."""
    runner.database.run("alter table src.lignes rename column mois to month")
    ran = traced(runner, collector.url, runner.spec(cache=None, retries=0), RUN_ID="petit-rate")
    assert outcome(ran) is Outcome.FAILED
    spans = spans_of(collector, ran)
    assert {span.name: (span.error, span.attributes.get("error.type")) for span in spans} == {
        "run petit": ("LayerFailed", "LayerFailed"),
        "step staging": ("Failed", "Failed"),
        "model stg_lignes": ("error", "error"),
    }
    assert "month" not in str(spans)


@built
@pytest.mark.slow
def test_attempts_of_a_run_are_in_one_trace(runner: RunnerHarness, collector: Collector) -> None:
    """Also one that could not reach the warehouse: it has a span of its own, and no nodes."""
    spec = runner.spec(cache=None, retries=1)
    runner.secrets["warehouse"] = {**runner.database.secret, "port": "1"}
    first = traced(runner, collector.url, spec, RUN_ID="petit-deux")
    assert outcome(first) is None, first.output
    runner.secrets["warehouse"] = runner.database.secret
    second = traced(runner, collector.url, spec, failures=1, RUN_ID="petit-deux")
    assert outcome(second) is Outcome.SUCCEEDED
    attempts = [span for span in spans_of(collector, first, second) if span.name == "run petit"]
    found = [(span.attributes["dashboard_refresh.run.attempt"], span.error) for span in sorted(attempts, key=lambda each: each.start)]
    assert found == [(1, "WarehouseUnreachable"), (2, None)]
    assert len({span.id for span in attempts}) == 2


@built
@pytest.mark.slow
def test_headers_are_those_of_the_secret(runner: RunnerHarness, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The collector takes nothing without its token, which nobody is shown. Control: without the Secret it refuses."""
    spec = runner.spec(cache=None, tracing={"headersSecretRef": {"name": "collector", "key": "headers"}})
    with Collector(tmp_path_factory.mktemp("guarded"), token=TOKEN) as collector:
        for headers, words in (
            (f"authorization=Bearer%20{TOKEN}", "traces: 14 spans sent"),
            ("authorization=Bearer%20un-autre-jeton-43", "traces: the collector answered 401; 0 of 14 spans were sent"),
            ("", "traces: not sent: the Secret 'collector' has no key 'headers'"),
        ):
            runner.secrets["collector"] = {"headers": headers}
            ran = traced(runner, collector.url, spec)
            assert outcome(ran) is Outcome.SUCCEEDED
            assert words in ran.messages, ran.messages
            assert not ran.messages.count("spans sent, trace") or spans_of(collector, ran)
            assert TOKEN not in ran.output
            assert "un-autre-jeton-43" not in ran.output
        assert len(collector.received()) == 14
        assert TOKEN not in str(collector.received())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "the collector cannot be reached: "),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://169.254.169.254"}, "the collector cannot be reached: its address is refused"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "not sent: OTEL_EXPORTER_OTLP_ENDPOINT is not an address"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "not sent: only http/protobuf is supported"),
    ],
)
def test_a_collector_that_cannot_be_reached_changes_nothing(runner: RunnerHarness, variables: Json, words: str) -> None:
    """Nor is a metadata service called, which hands out credentials of the machine."""
    ran = runner.run(runner.spec(cache=None), **variables)
    assert outcome(ran) is Outcome.SUCCEEDED
    assert f"traces: {words}" in ran.messages, ran.messages


@pytest.mark.slow
@pytest.mark.parametrize("status", [302, 401, 500])
def test_a_collector_that_refuses_changes_nothing(runner: RunnerHarness, server: WebServer, status: int) -> None:
    """Redirects are not followed, since their targets are not checked."""
    server.statuses[PATH], server.headers["Location"] = status, "http://127.0.0.1:1/"
    ran = traced(runner, server.url)
    assert outcome(ran) is Outcome.SUCCEEDED
    assert f"traces: the collector answered {status}; 0 of 14 spans were sent" in ran.messages
    assert len(server.asked) == 1


@pytest.mark.slow
def test_a_silent_collector_delays_the_pod_by_no_more_than_the_timeout(
    runner: RunnerHarness, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the warehouse is free, and the run's result is reported."""
    monkeypatch.setattr("refresh_runner.tracing.send.TIMEOUT", 2.0)
    held: list[object] = []
    server.on_request = lambda: held.extend(runner.held())
    server.slow.add(PATH)
    begun = time.monotonic()
    ran = traced(runner, server.url)
    took = time.monotonic() - begun
    assert outcome(ran) is Outcome.SUCCEEDED
    assert "traces: no answer in time; 0 of 14 spans were sent" in ran.messages
    assert (len(server.asked), held) == (1, [])
    server.wake()
    server.slow.clear()
    begun = time.monotonic()
    traced(runner, server.url)
    assert took < time.monotonic() - begun + 4


@pytest.mark.slow
def test_without_the_variables_nothing_of_it_is_loaded(runner: RunnerHarness) -> None:
    """Only what dbt itself imports of OpenTelemetry's API is loaded then. Control: with an address, all of it is."""
    shown = "print('loaded:', sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    own = subprocess.run(
        [sys.executable, "-c", f"import sys, dbt.cli.main, dbt.adapters.postgres; {shown}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    assert "opentelemetry.sdk" not in own
    start = f"import sys; from refresh_runner.__main__ import main; main(sys.argv[1:]); {shown}"
    places = ["run", "--project", str(runner.project), "--secrets", str(runner._mounted()), "--termination-log", str(runner._words())]
    loaded = []
    switches: list[Json] = [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ]
    for variables in switches:
        environment = runner.pod_environment(runner.spec(cache=None), **variables)
        done = subprocess.run(
            [sys.executable, "-c", start, *places], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        loaded.append(next(line for line in done.stdout.splitlines() if line.startswith("loaded: ")))
    assert loaded[:2] == [own, own]
    assert "'opentelemetry.sdk.trace'" in loaded[2]
