"""Sends the spans of a finished attempt. Nothing here fails a run, or keeps its pod longer than the timeout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

import httpx
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan

from refresh_api.status import Run
from refresh_api.tracing import TIMEOUT, pairs
from refresh_notify.calls import Answer, Caller, proxy_for, tried
from refresh_runner.core.after_run import NotDoneError, Work, calls_to
from refresh_runner.core.secrets import Redactor, header_value
from refresh_runner.model.plan import Plan
from refresh_runner.report.step_times import StepTimes
from refresh_runner.run.services import Services
from refresh_runner.tracing.settings import TraceSettings
from refresh_runner.tracing.spans import TracedRun, Warehouse

_BATCH: Final = 1000
"""Maximum spans of a request."""
_KEPT: Final = 4096
"""Bytes of an answer that are read, for the number of spans that were rejected."""


class Tracer:
    """Follows one attempt, and sends its spans once it has ended."""

    def __init__(self, plan: Plan, settings: TraceSettings, secrets: Mapping[str, Mapping[str, str]], redact: Redactor) -> None:
        self._plan = plan
        self._settings = settings
        self._secrets = secrets
        self._redact = redact
        self._times = StepTimes()

    def update(self, run: Run) -> None:
        """Note a new state of the run."""
        self._times.update(run)

    def work(self, services: Services | None) -> Work | None:
        """Return the work of sending the spans; without services, as without a warehouse, only that of the attempt."""
        run = self._times.run
        return Work("traces", TIMEOUT, lambda: self._send(run, services)) if run else None

    def _send(self, run: Run, services: Services | None) -> str:
        ends = time.monotonic() + TIMEOUT
        url = _url_of(self._settings)
        headers = self._headers()
        traced = self._traced(run, services)
        sent = send(url, headers, list(traced.spans()), ends)
        return f"{sent} spans sent, trace {traced.trace_id:032x}"

    def _headers(self) -> Mapping[str, str]:
        tracing = self._plan.run_request.spec.tracing
        if tracing is None:
            return self._settings.headers
        value, problem = header_value(self._secrets, tracing.headers_secret_ref)
        if problem:
            raise NotDoneError(f"not sent: {problem}")
        return dict(pairs(value or ""))

    def _traced(self, run: Run, services: Services | None) -> TracedRun:
        refresh = self._plan.run_request.refresh
        access = services.warehouse.info if services else None
        return TracedRun(
            namespace=refresh.namespace,
            refresh=refresh.name,
            uid=refresh.uid or "",
            run=run,
            steps={name: (start, self._times.ends.get(name, run.heartbeat_time)) for name, start in self._times.starts.items()},
            nodes=services.dbt.timings() if services else (),
            warehouse=Warehouse(access.host, access.port, access.dbname) if access else None,
            attributes=self._settings.attributes,
            product=version("refresh-runner"),
            redact=self._redact,
        )


def send(url: httpx.URL, headers: Mapping[str, str], spans: list[ReadableSpan], ends: float) -> int:
    """Send the spans in batches; return their number. Raise NotDoneError at the first batch that the collector does not accept whole."""
    sent = 0
    typed = {**headers, "Content-Type": "application/x-protobuf"}

    def progress() -> str:
        return f"; {sent} of {len(spans)} spans were sent"

    with calls_to("the collector", progress), Caller(str(url), typed, proxy=proxy_for(url, TIMEOUT)) as caller:
        while batch := spans[sent : sent + _BATCH]:
            if refusal := _refusal(_posted(caller, url, encode_spans(batch).SerializeToString(), ends)):
                raise NotDoneError(f"{refusal}{progress()}")
            sent += len(batch)
    return sent


def _posted(caller: Caller, url: httpx.URL, content: bytes, ends: float) -> Answer:
    """Return the answer to a request, which is sent again if the collector asks to wait."""
    return tried(
        lambda left: caller.call("POST", str(url), left, content=content, keep=_KEPT), ends - time.monotonic(), time.monotonic, time.sleep
    )


def _refusal(answer: Answer) -> str:
    """Return why spans were not accepted, or an empty text. Nothing of the collector's own words is shown."""
    if not httpx.codes.is_success(answer.status):
        return f"the collector answered {answer.status}"
    try:
        rejected = ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans
    except DecodeError:
        # some receivers answer with JSON, or a longer text
        return ""
    return f"the collector rejected {rejected} spans" if rejected else ""


def _url_of(settings: TraceSettings) -> httpx.URL:
    """Return the address. Raise NotDoneError, which does not quote it, if it is invalid, or if another protocol is wanted."""
    if settings.protocol != "http/protobuf":
        raise NotDoneError("not sent: only http/protobuf is supported as OTEL_EXPORTER_OTLP_PROTOCOL")
    try:
        url = httpx.URL(settings.url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise NotDoneError("not sent: OTEL_EXPORTER_OTLP_ENDPOINT is not an address like http://collector:4318")
    return url
