"""The door to the dashboards' API: calls that have it rebuild its cache."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx

from refresh_api.status import EndpointStatus, StepState, clip
from refresh_api.values import duration_text
from refresh_runner.plan import CacheStep


def warm(step: CacheStep, elapsed: Callable[[], float], ends: float) -> Iterator[EndpointStatus]:
    """Call the endpoints one by one, past the API's own cache.

    Each has its time-out, and all of them end at `ends`, in the seconds that `elapsed` counts.
    """
    with httpx.Client(base_url=step.base_url, headers={"Cache-Control": "no-cache"}, trust_env=False) as client:
        for path in step.endpoints:
            yield _call(client, step, path, elapsed, min(elapsed() + step.timeout.total_seconds(), ends))


def _call(client: httpx.Client, step: CacheStep, path: str, elapsed: Callable[[], float], ends: float) -> EndpointStatus:
    limit = ends - elapsed()
    if limit <= 0:
        return _warned(path, "not called: the run's time was up")
    try:
        with client.stream("GET", path, timeout=limit) as answer:
            # Read to its end, so that the API has done all its work; httpx bounds each read, not their sum.
            for _ in answer.iter_raw():
                if elapsed() > ends:
                    raise httpx.ReadTimeout("the answer does not end")
            status = answer.status_code
    except httpx.TimeoutException:
        return _warned(path, f"no whole answer within {duration_text(timedelta(seconds=limit))}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _warned(path, f"{step.base_url} can't be reached: {error or type(error).__name__}")
    if status != httpx.codes.OK:
        return _warned(path, f"answered {status}")
    return EndpointStatus(path=path, state=StepState.SUCCEEDED)


def _warned(path: str, message: str) -> EndpointStatus:
    return EndpointStatus(path=path, state=StepState.WARNED, message=clip(message))
