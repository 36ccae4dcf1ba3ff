"""Calls the dashboards' API so that it rebuilds its cache, and checks which data version it serves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import JsonValue

from refresh_api.status import EndpointStatus, StepState
from refresh_api.steps import CacheVersion
from refresh_api.values import duration_text
from refresh_notify.calls import Answer, Caller, CallError, tried
from refresh_runner.model.steps import CacheStep
from refresh_runner.postgres.replay_lag import ReplayLag

_POLL_INTERVAL: Final = 0.5
"""Seconds until an endpoint that serves older data is called again."""
_MAX_BODY: Final = 16 * 2**20
"""Maximum number of bytes of a body that are searched for a version."""


@dataclass(frozen=True)
class WarmupContext:
    """The parameters of the calls."""

    elapsed: Callable[[], float]
    sleep: Callable[[float], None]
    deadline: float
    """Deadline of all calls, in seconds of `elapsed`."""
    refresh: str = ""
    """Name of the refresh, the prefix of its run IDs."""
    version: str | None = None
    """The live data version; None if unknown. Then endpoints need not serve it."""
    authorization: str | None = None
    """Value of the Authorization header."""
    lag: Callable[[], ReplayLag] = ReplayLag
    """Returns what standbys may still have to replay. Until they have, an API that reads from them cannot serve the live data."""
    lag_deadline: float = 0.0
    """Deadline, in seconds of `elapsed`, up to which an endpoint may be called beyond its timeout because of that lag."""
    problem: str | None = None
    """Why the endpoints cannot be called; None if they can."""


def warm(step: CacheStep, context: WarmupContext) -> Iterator[EndpointStatus]:
    """Call the endpoints one by one with `Cache-Control: no-cache`, each with its own timeout.

    If the step says where a response contains the data version, call an endpoint until it serves the live one.
    """
    if context.problem:
        yield from (_warned(path, f"not called: {context.problem}") for path in step.endpoints)
        return
    headers = {"Cache-Control": "no-cache", **({"Authorization": context.authorization} if context.authorization else {})}
    # The API is called without a proxy, but SSL_CERT_FILE and SSL_CERT_DIR apply.
    with Caller(step.base_url, headers) as caller:
        for path in step.endpoints:
            yield _warm_endpoint(caller, step, path, context)


def _warm_endpoint(caller: Caller, step: CacheStep, path: str, context: WarmupContext) -> EndpointStatus:
    ends = min(context.elapsed() + step.timeout.total_seconds(), context.deadline)
    while True:
        endpoint, shows_live = _request(caller, step, path, context, ends)
        if endpoint.state is not StepState.SUCCEEDED or shows_live or context.version is None:
            return endpoint
        lag = context.lag()
        if lag or lag.is_hidden:
            # As far as is known, the timeout begins when the endpoint can serve the live data.
            ends = max(ends, min(context.elapsed() + step.timeout.total_seconds(), context.lag_deadline, context.deadline))
        if context.elapsed() + _POLL_INTERVAL > ends:
            if shows_live is None:
                served = f"does not say in {_version_location(step.version)} which data it serves"
            else:
                served = f"serves {f'the data of {endpoint.version}' if endpoint.version else 'other data'}"
            return _warned(path, f"{served}; {context.version} is live" + (f"; {lag.text}" if lag.text else ""), endpoint.version)
        context.sleep(_POLL_INTERVAL)


def _request(caller: Caller, step: CacheStep, path: str, context: WarmupContext, ends: float) -> tuple[EndpointStatus, bool | None]:
    """Return an endpoint's status, and whether it serves the live data: None if it states no version, True if none is required."""
    limit = ends - context.elapsed()
    if limit <= 0:
        return _warned(path, "not called: the run timed out"), None
    keep = _MAX_BODY if step.version and step.version.field else 0
    try:
        answer = tried(partial(caller.call, "GET", path, keep=keep), limit, context.elapsed, context.sleep)
    except TimeoutError:
        return _warned(path, f"no complete response within {duration_text(timedelta(seconds=math.ceil(limit)))}"), None
    except CallError as error:
        return _warned(path, f"{_redacted_url(step.base_url)} cannot be reached: {error}"), None
    if not answer.is_whole:
        return _warned(path, f"answered {answer.status} with an unreadable body"), None
    stated = _version(step.version, answer) if step.version else context.version
    version = stated if step.version and stated and (stated == context.version or _is_run_id(stated, context.refresh)) else None
    if answer.status != httpx.codes.OK:
        return _warned(path, f"answered {answer.status}", version), None
    shows_live = None if step.version and stated is None else stated == context.version
    return EndpointStatus(path=path, state=StepState.SUCCEEDED, version=version), shows_live


def _version(place: CacheVersion, answer: Answer) -> str | None:
    """Return the version in a response."""
    if place.header:
        value: JsonValue = answer.headers.get(place.header)
    else:
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError):
            return None
        for name in (place.field or "").split("."):
            value = value.get(name) if isinstance(value, dict) else None
    return str(value) if isinstance(value, str | int) and value != "" else None


def _is_run_id(version: str, refresh: str) -> bool:
    """Return whether a version is a run ID. Other contents of a field or header must not reach the status."""
    return bool(re.fullmatch(rf"{re.escape(refresh)}-[a-z0-9-]{{1,64}}", version))


def _redacted_url(base_url: str) -> str:
    """Return a URL without its credentials."""
    split = urlsplit(base_url)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"


def _version_location(place: CacheVersion | None) -> str:
    return f"the header {place.header}" if place and place.header else f"the field {place.field if place else ''}"


def _warned(path: str, message: str, version: str | None = None) -> EndpointStatus:
    return EndpointStatus(path=path, state=StepState.WARNED, message=message, version=version)
