"""Traces of runs: `spec.tracing`, and the variables with which OpenTelemetry is configured."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from pydantic import Field

from refresh_api.fields import SecretKeyRef
from refresh_api.model import SpecModel

TIMEOUT: Final = 10.0
"""Maximum seconds that all spans of an attempt may take."""
HEADERS_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
"""Variables with headers, the more specific one first."""


class Tracing(SpecModel):
    """What traces need beside OpenTelemetry's standard variables in podTemplate."""

    headers_secret_ref: SecretKeyRef = Field(
        description="Secret key with headers of the requests to the collector, written as in OTEL_EXPORTER_OTLP_HEADERS: name=value, "
        "separated by commas, for example authorization=Bearer%20…. They replace those of the variables."
    )


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values in a text such as `name=value,other=other%20value`, as OpenTelemetry writes headers and attributes."""
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            yield unquote(name.strip()), unquote(value.strip())
