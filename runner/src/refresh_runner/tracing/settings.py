"""OpenTelemetry's standard variables; pure. Imports nothing of OpenTelemetry, so that runs without traces do not load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from refresh_api.tracing import HEADERS_VARIABLES, pairs


@dataclass(frozen=True)
class TraceSettings:
    """Where spans go, and what they say about the process that sends them."""

    url: str
    headers: Mapping[str, str]
    attributes: Mapping[str, str]
    """Attributes of the resource."""
    protocol: str


def settings_of(variables: Mapping[str, str]) -> TraceSettings | None:
    """Return the settings; None unless the variables name an address."""

    def first(*names: str) -> str:
        return next((value for name in names if (value := variables.get(name, "").strip())), "")

    exact, base = first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), first("OTEL_EXPORTER_OTLP_ENDPOINT")
    is_off = first("OTEL_SDK_DISABLED").lower() == "true" or (first("OTEL_TRACES_EXPORTER") or "otlp") != "otlp"
    if is_off or not (exact or base):
        return None
    attributes = dict(pairs(first("OTEL_RESOURCE_ATTRIBUTES")))
    if name := first("OTEL_SERVICE_NAME"):
        attributes["service.name"] = name
    protocol = first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    return TraceSettings(exact or f"{base.rstrip('/')}/v1/traces", dict(pairs(first(*HEADERS_VARIABLES))), attributes, protocol)
