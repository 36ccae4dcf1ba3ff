"""The door to the dashboards' API: calls that have it rebuild its cache, and show which data it serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import httpx
from pydantic import JsonValue

from refresh_api.status import EndpointStatus, StepState, clip
from refresh_api.steps import CacheVersion
from refresh_api.values import duration_text
from refresh_runner.plan import CacheStep
from refresh_runner.replay import Lag

_PAUSE: Final = 0.5
"""Seconds until an endpoint is asked again that serves older data."""
_READ: Final = 16 * 2**20
"""Bytes of an answer that are looked at for a version."""
_SHOWN: Final = 256
"""Characters of a version that a status shows."""


@dataclass(frozen=True)
class Call:
    """How the endpoints are called."""

    elapsed: Callable[[], float]
    sleep: Callable[[float], None]
    ends: float
    """When all of it must be over, in the seconds that `elapsed` counts."""
    version: str | None = None
    """The data that is live; None where that is not known, and then no endpoint has to show it."""
    authorization: str | None = None
    """Value of the header Authorization."""
    lag: Callable[[], Lag] = Lag
    """What standbys have still to replay; as long as they do, an API that reads there can't serve what is live."""
    lag_ends: float = 0.0
    """Until when an endpoint is asked beyond its time-out because of that, in the seconds that `elapsed` counts."""
    missing: str | None = None
    """What the calls need and is not there, in words."""


def warm(step: CacheStep, call: Call) -> Iterator[EndpointStatus]:
    """Call the endpoints one by one, past the API's own cache; each has its time-out.

    Where the step says how the API names its data, an endpoint is asked until it serves what is live.
    """
    if call.missing:
        yield from (_warned(path, f"not called: {call.missing}") for path in step.endpoints)
        return
    headers = {"Cache-Control": "no-cache", **({"Authorization": call.authorization} if call.authorization else {})}
    # No proxy stands between a run and its API, but who issued its certificate is for the environment to say. To read all that are trusted
    # takes longer than the calls, and is of no use where there is none; no redirect is followed.
    trusted = httpx.create_ssl_context() if step.base_url.startswith("https:") else False
    with httpx.Client(base_url=step.base_url, headers=headers, verify=trusted, trust_env=False) as client:
        for path in step.endpoints:
            yield _asked(client, step, path, call)


def _asked(client: httpx.Client, step: CacheStep, path: str, call: Call) -> EndpointStatus:
    ends = min(call.elapsed() + step.timeout.total_seconds(), call.ends)
    while True:
        found = _answered(client, step, path, call, ends)
        older = found.state is StepState.SUCCEEDED and step.version is not None and call.version not in (None, found.version)
        if not older:
            return found
        lag = call.lag()
        if lag:
            # Its time counts from when it can serve what is live.
            ends = max(ends, min(call.elapsed() + step.timeout.total_seconds(), call.lag_ends, call.ends))
        if call.elapsed() + _PAUSE > ends:
            said = (
                f"serves the data of {found.version}" if found.version else f"does not say in {_place(step.version)} which data it serves"
            )
            return _warned(path, f"{said}; {call.version} is live" + (f"; {lag.text}" if lag.text else ""), found.version)
        call.sleep(_PAUSE)


def _answered(client: httpx.Client, step: CacheStep, path: str, call: Call, ends: float) -> EndpointStatus:
    limit = ends - call.elapsed()
    if limit <= 0:
        return _warned(path, "not called: the run's time was up")
    body = b""
    try:
        with client.stream("GET", path, timeout=limit) as answer:
            # Read to its end, so that the API has done all its work; httpx bounds each read, not their sum.
            for part in answer.iter_bytes():
                if call.elapsed() > ends:
                    raise httpx.ReadTimeout("the answer does not end")
                if step.version and step.version.field and len(body) < _READ:
                    body += part
    except httpx.TimeoutException:
        return _warned(path, f"no whole answer within {duration_text(timedelta(seconds=limit))}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _warned(path, f"{step.base_url} can't be reached: {error or type(error).__name__}")
    version = _version(step.version, answer.headers, body) if step.version else None
    if answer.status_code != httpx.codes.OK:
        return _warned(path, f"answered {answer.status_code}", version)
    return EndpointStatus(path=path, state=StepState.SUCCEEDED, version=version)


def _version(place: CacheVersion, headers: httpx.Headers, body: bytes) -> str | None:
    """Return what an answer says in the place where its version should be."""
    if place.header:
        found: JsonValue = headers.get(place.header)
    else:
        try:
            found = json.loads(body)
        except ValueError:
            return None
        for name in (place.field or "").split("."):
            found = found.get(name) if isinstance(found, dict) else None
    return clip(str(found), _SHOWN) if isinstance(found, str | int) and found != "" else None


def _place(place: CacheVersion | None) -> str:
    return f"the header {place.header}" if place and place.header else f"the field {place.field if place else ''}"


def _warned(path: str, message: str, version: str | None = None) -> EndpointStatus:
    return EndpointStatus(path=path, state=StepState.WARNED, message=clip(message), version=version)
