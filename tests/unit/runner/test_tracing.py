"""OpenTelemetry's variables, and the spans of attempts that ended in different ways; tests/integration/runner has those of real runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess, ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan

from refresh_api.spec import RefreshSpec
from refresh_api.status import Outcome, Reason, Run, RunPhase, StepState, StepStatus
from refresh_notify.calls import Answer
from refresh_runner.core.secrets import redactor
from refresh_runner.dbt.timings import TimedNode
from refresh_runner.tracing.send import _refusal
from refresh_runner.tracing.settings import settings_of
from refresh_runner.tracing.spans import TracedRun
from support.snapshots import sample_spec

BASE, EXACT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
START = datetime(2026, 6, 30, 2, 30, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def traced(outcome: Outcome | None = Outcome.SUCCEEDED, **changes: Any) -> TracedRun:
    run = Run(
        id="r-1",
        generation=1,
        phase=RunPhase.FINISHED,
        attempt=1,
        attempts=2,
        start_time=START,
        heartbeat_time=after(9),
        completion_time=after(8),
        outcome=outcome,
        reason=Reason.LAYER_FAILED,
        steps=[StepStatus(name=name, state=StepState.SUCCEEDED) for name in ("facts", "marts", "tests")],
    )
    steps = {"facts": (after(1), after(3)), "marts": (after(3), after(5))}
    return replace(TracedRun("ns", "r", "uid", run, steps), **changes)


def node(start: float, **changes: Any) -> TimedNode:
    return replace(TimedNode("model.p.m", "model", "m", None, after(start), after(start + 1), "success", None), **changes)


def by_name(run: TracedRun) -> dict[str, ReadableSpan]:
    return {span.name: span for span in run.spans()}


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({BASE: " "}, None),
        ({BASE: "http://c:4318"}, "http://c:4318/v1/traces"),
        ({BASE: "http://c:4318/otlp/"}, "http://c:4318/otlp/v1/traces"),
        ({EXACT: "http://c/in"}, "http://c/in"),
        ({BASE: "http://c:4318", EXACT: "http://d/in"}, "http://d/in"),
        ({BASE: "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({BASE: "http://c:4318", "OTEL_SDK_DISABLED": "no"}, "http://c:4318/v1/traces"),
        ({BASE: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({BASE: "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp"}, "http://c:4318/v1/traces"),
        ({"OTEL_SERVICE_NAME": "s"}, None),
    ],
)
def test_an_address_switches_traces_on(variables: dict[str, str], url: str | None):
    """As OpenTelemetry's specification says: the address of traces is used as it is, that of all signals with the path of traces."""
    found = settings_of(variables)
    assert (found.url if found else None) == url


def test_headers_and_attributes_are_decoded():
    """Values are percent-encoded; what has no name or no value is ignored. The name of the service has a variable of its own."""
    found = settings_of(
        {
            BASE: "http://c",
            "OTEL_EXPORTER_OTLP_HEADERS": "other=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer%20a=b, x-tenant = t,,=c,d",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=one,team=bi%20et%20data",
            "OTEL_SERVICE_NAME": "two",
        }
    )
    assert found
    assert found.headers == {"authorization": "Bearer a=b", "x-tenant": "t"}
    assert found.attributes == {"service.name": "two", "team": "bi et data"}


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(Outcome.SUCCEEDED, None), (Outcome.WARNED, None), (Outcome.SKIPPED, None), (Outcome.FAILED, "LayerFailed"), (None, "LayerFailed")],
)
def test_an_attempt_that_failed_is_an_error(outcome: Outcome | None, error: str | None):
    """So is one that another attempt follows, which has no outcome."""
    span = by_name(traced(outcome))["run r"]
    assert span.attributes
    assert (span.status.description, span.attributes.get("error.type")) == (error, error)
    assert span.status.is_ok == (error is None)


@pytest.mark.parametrize(("start", "parent"), [(0, "run r"), (1, "step facts"), (2.9, "step facts"), (3, "step marts"), (6, "step marts")])
def test_a_node_is_in_the_step_in_which_it_started(start: float, parent: str):
    """Steps follow each other, so it is the last one that had started."""
    spans = by_name(traced(nodes=[node(start)]))
    above = spans["model m"].parent
    assert above
    assert above.span_id == spans[parent].context.span_id


def test_the_trace_is_that_of_the_run():
    """Its attempts share it, and have other spans. Another run has another one, and so has another refresh of the same name."""
    first = traced()
    second = replace(first, run=first.run.model_copy(update={"attempt": 2, "start_time": after(60)}))
    assert first.trace_id == second.trace_id
    assert not {span.context.span_id for span in first.spans()} & {span.context.span_id for span in second.spans()}
    others = {replace(first, uid="other").trace_id, replace(first, run=first.run.model_copy(update={"id": "r-2"})).trace_id}
    assert len({first.trace_id, *others}) == 3


def test_secrets_are_masked_wherever_they_are():
    """A name of a model, an attribute of the resource. Times are whole microseconds."""
    spans = list(
        traced(nodes=[node(1, name="m-secret")], attributes={"team": "secret"}, redact=lambda text: text.replace("secret", "*")).spans()
    )
    assert not [span for span in spans if "secret" in span.to_json()]
    assert spans[0].resource.attributes["team"] == "*"
    assert spans[0].start_time == int(START.timestamp()) * 10**9


def test_headers_are_secret():
    """Those of the variables and those of the Secret, decoded or not. Control: other variables are not."""
    spec = RefreshSpec.model_validate(sample_spec(tracing={"headersSecretRef": {"name": "c", "key": "h"}}))
    secrets, variables = (
        {"c": {"h": "authorization=Bearer%20dans-le-coffre"}},
        {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=dans-le%2Dspec", BASE: "http://c"},
    )
    redact = redactor(spec, secrets, variables, Path("/nowhere"))
    text = "Bearer%20dans-le-coffre, dans-le-coffre, dans-le-spec, dans-le%2Dspec, http://c"
    assert redact(text).count("***") == 4, redact(text)
    assert redact(text).endswith("http://c")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"", ""),
        (202, b"{}", ""),
        (200, ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(error_message="no")).SerializeToString(), ""),
        (
            200,
            ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=3)).SerializeToString(),
            "the collector rejected 3 spans",
        ),
        (413, b"too long", "the collector answered 413"),
    ],
)
def test_a_collector_that_rejects_some_spans_is_not_believed(status: int, body: bytes, words: str):
    """It answers 200 and the number. Its own words are not shown."""
    assert _refusal(Answer(status, httpx.Headers(), body)) == words
