"""The door to the dashboards' API: calls that have it rebuild its cache, and show which data it serves."""

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
from refresh_runner.postgres.replay_lag import Lag

_POLL_INTERVAL: Final = 0.5
"""Seconds until an endpoint is asked again that serves older data."""
_MAX_BODY: Final = 16 * 2**20
"""Bytes of an answer that are looked at for a version."""


@dataclass(frozen=True)
class WarmupContext:
    """How the endpoints are called."""

    elapsed: Callable[[], float]
    sleep: Callable[[float], None]
    deadline: float
    """When all of it must be over, in the seconds that `elapsed` counts."""
    refresh: str = ""
    """Name of the refresh, with which the names of its runs begin."""
    version: str | None = None
    """The data that is live; None where that is not known, and then no endpoint has to show it."""
    authorization: str | None = None
    """Value of the header Authorization."""
    lag: Callable[[], Lag] = Lag
    """What standbys have, or may have, still to replay; as long as they do, an API that reads there can't serve what is live."""
    lag_deadline: float = 0.0
    """Until when an endpoint is asked beyond its time-out because of that, in the seconds that `elapsed` counts."""
    problem: str | None = None
    """What the calls need and is not there, in words."""


def warm(step: CacheStep, context: WarmupContext) -> Iterator[EndpointStatus]:
    """Call the endpoints one by one, past the API's own cache; each has its time-out.

    Where the step says how the API names its data, an endpoint is asked until it serves what is live.
    """
    if context.problem:
        yield from (_warned(path, f"not called: {context.problem}") for path in step.endpoints)
        return
    headers = {"Cache-Control": "no-cache", **({"Authorization": context.authorization} if context.authorization else {})}
    # No proxy stands between a run and its API, but who issued its certificate is for the environment to say.
    with Caller(step.base_url, headers) as caller:
        for path in step.endpoints:
            yield _warm_endpoint(caller, step, path, context)


def _warm_endpoint(caller: Caller, step: CacheStep, path: str, context: WarmupContext) -> EndpointStatus:
    ends = min(context.elapsed() + step.timeout.total_seconds(), context.deadline)
    while True:
        found, shows_live = _request(caller, step, path, context, ends)
        if found.state is not StepState.SUCCEEDED or shows_live or context.version is None:
            return found
        lag = context.lag()
        if lag or lag.is_hidden:
            # Its time counts from when it can serve what is live, as far as that is known.
            ends = max(ends, min(context.elapsed() + step.timeout.total_seconds(), context.lag_deadline, context.deadline))
        if context.elapsed() + _POLL_INTERVAL > ends:
            if shows_live is None:
                said = f"does not say in {_version_location(step.version)} which data it serves"
            else:
                said = f"serves {f'the data of {found.version}' if found.version else 'other data'}"
            return _warned(path, f"{said}; {context.version} is live" + (f"; {lag.text}" if lag.text else ""), found.version)
        context.sleep(_POLL_INTERVAL)


def _request(caller: Caller, step: CacheStep, path: str, context: WarmupContext, ends: float) -> tuple[EndpointStatus, bool | None]:
    """Return what an endpoint answered, and whether it shows the live data; None where it shows none, True where nobody asks for it."""
    limit = ends - context.elapsed()
    if limit <= 0:
        return _warned(path, "not called: the run's time was up"), None
    keep = _MAX_BODY if step.version and step.version.field else 0
    try:
        answer = tried(partial(caller.call, "GET", path, keep=keep), limit, context.elapsed, context.sleep)
    except TimeoutError:
        return _warned(path, f"no whole answer within {duration_text(timedelta(seconds=math.ceil(limit)))}"), None
    except CallError as error:
        return _warned(path, f"{_redacted_url(step.base_url)} can't be reached: {error}"), None
    if not answer.is_whole:
        return _warned(path, f"answered {answer.status} with an unreadable body"), None
    said = _version(step.version, answer) if step.version else context.version
    version = said if step.version and said and (said == context.version or _is_run_id(said, context.refresh)) else None
    if answer.status != httpx.codes.OK:
        return _warned(path, f"answered {answer.status}", version), None
    shows_live = None if step.version and said is None else said == context.version
    return EndpointStatus(path=path, state=StepState.SUCCEEDED, version=version), shows_live


def _version(place: CacheVersion, answer: Answer) -> str | None:
    """Return what an answer says in the place where its version should be."""
    if place.header:
        found: JsonValue = answer.headers.get(place.header)
    else:
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            return None
        for name in (place.field or "").split("."):
            found = found.get(name) if isinstance(found, dict) else None
    return str(found) if isinstance(found, str | int) and found != "" else None


def _is_run_id(version: str, refresh: str) -> bool:
    """Return whether a version may be shown: whatever else stands in the place that a user names is none of the status's business."""
    return bool(re.fullmatch(rf"{re.escape(refresh)}-[a-z0-9-]{{1,64}}", version))


def _redacted_url(base_url: str) -> str:
    """Return where an API is: an address may hold a password."""
    split = urlsplit(base_url)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"


def _version_location(place: CacheVersion | None) -> str:
    return f"the header {place.header}" if place and place.header else f"the field {place.field if place else ''}"


def _warned(path: str, message: str, version: str | None = None) -> EndpointStatus:
    return EndpointStatus(path=path, state=StepState.WARNED, message=message, version=version)
