"""Reads the source of a refresh's project, an object of Flux, from the API server."""

from __future__ import annotations

from typing import Final

import httpx

from refresh_api.objects import Json, object_of
from refresh_api.project import SOURCES_GROUP, SourceRef
from refresh_runner.core.errors import RunFailedError
from refresh_runner.report.api_server import ApiServer
from refresh_runner.repository.failures import unavailable

_HINT: Final = "see spec.project.sourceRef"


def get_source(api: ApiServer | None, namespace: str, source: SourceRef) -> Json:
    """Return a source. Raise RunFailedError with ProjectUnavailable if that is not possible."""
    if api is None:
        raise RunFailedError(unavailable(f"{source.url} can only be read in a cluster", _HINT))
    try:
        with api.client() as client:
            answer = api.get(client, f"/apis/{SOURCES_GROUP}/v1/namespaces/{namespace}/{source.kind.plural}/{source.name}")
    except (httpx.HTTPError, OSError) as error:
        why = f"the API server cannot be reached: {error or type(error).__name__}"
        raise RunFailedError(unavailable(f"{source.url}: {why}", retryable=True)) from error
    match answer.status_code:
        case httpx.codes.OK:
            return object_of(answer.content)
        case httpx.codes.NOT_FOUND:
            raise RunFailedError(unavailable(f"{source.url} does not exist in {namespace}", _HINT))
        case httpx.codes.FORBIDDEN:
            hint = "see projects.allowedSources in the chart's values"
            raise RunFailedError(unavailable(f"{source.url}: the pod is not allowed to read it", hint))
        case code:
            raise RunFailedError(unavailable(f"{source.url}: the API server answered with {code}", retryable=True))
