"""A real OpenTelemetry collector, built from its Go modules. It writes the spans that it receives to a file as JSON."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Final, Self

from cluster.embedded.binaries import Program, build
from cluster.paths import paths_of
from cluster.ports import free_port, is_free
from cluster.waiting import tail, wait_until

_MODULE: Final = Path(__file__).with_name("otel_collector")
_PROGRAM: Final = Program("otel-collector", _MODULE, ".", "two minutes on two cores")
Json = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """A span as the collector has received it."""

    trace: str
    id: str
    parent: str
    name: str
    start: int
    end: int
    attributes: Json
    resource: Json
    error: str | None
    """Description of the status if it is an error."""


@dataclass
class Collector:
    """A collector on loopback that takes OTLP by HTTP, from everybody or with a bearer token."""

    folder: Path
    token: str | None = None
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Return what OTEL_EXPORTER_OTLP_ENDPOINT names."""
        return f"http://127.0.0.1:{self.port}"

    def trace(self, trace: str, count: int) -> list[Span]:
        """Return the spans of a trace, once there are at least so many."""

        def found() -> list[Span]:
            return [span for span in self.received() if span.trace == trace]

        wait_until(lambda: len(found()) >= count, f"{count} spans", 10, lambda: f"{self.received()}\n{tail(self._log)}")
        return found()

    def received(self) -> list[Span]:
        """Return the spans received so far. The collector writes after a moment."""
        return spans(self._file.read_text() if self._file.exists() else "")

    def __enter__(self) -> Self:
        self._file, self._log = self.folder / "spans.json", self.folder / "collector.log"
        place = self.folder / "config.yaml"
        place.write_text(config(f"127.0.0.1:{self.port}", self._file, self.token))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program(), "--config", f"file:{place}"], stdout=log, stderr=log)
        wait_until(lambda: not is_free(self.port), "the collector", 30, lambda: tail(self._log))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(10)


def program() -> Path:
    """Return the program, which is built if need be."""
    return Path(build(_PROGRAM, paths_of(os.environ).cache))


def config(address: str, file: PurePath, token: str | None = None) -> str:
    """Return its configuration: the address to listen on, the file to write, and the bearer token that it requires."""
    http: Json = {"endpoint": address, **({"auth": {"authenticator": "bearertokenauth"}} if token else {})}
    return json.dumps(
        {
            "receivers": {"otlp": {"protocols": {"http": http}}},
            "exporters": {"file": {"path": str(file), "flush_interval": "100ms"}},
            "extensions": {"bearertokenauth": {"token": token}} if token else {},
            "service": {
                "extensions": ["bearertokenauth"] if token else [],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
            },
        }
    )


def spans(text: str) -> list[Span]:
    """Return the spans in the file of a collector."""
    return [span for line in text.splitlines() for span in _spans(json.loads(line))]


def _spans(received: Json) -> list[Span]:
    return [
        Span(
            trace=span["traceId"],
            id=span["spanId"],
            parent=span.get("parentSpanId", ""),
            name=span["name"],
            start=int(span["startTimeUnixNano"]),
            end=int(span["endTimeUnixNano"]),
            attributes=_attributes(span),
            resource=_attributes(of_resource["resource"]),
            error=span["status"].get("message", "") if span.get("status", {}).get("code") == 2 else None,
        )
        for of_resource in received["resourceSpans"]
        for scope in of_resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _attributes(of: Json) -> Json:
    # OTLP's JSON writes 64-bit integers as text
    return {
        each["key"]: int(value) if kind == "intValue" else value
        for each in of.get("attributes", [])
        for kind, value in each["value"].items()
    }
