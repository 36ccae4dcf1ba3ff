"""How long an endpoint that serves older data is called: for its timeout, or longer while a standby may be the cause."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from refresh_api.status import StepState
from refresh_api.steps import CacheVersion
from refresh_runner.model.steps import CacheStep
from refresh_runner.postgres.replay_lag import ReplayLag
from refresh_runner.run.cache_warmup import WarmupContext, warm
from support.webserver import WebServer

BEHIND = ReplayLag("the standby replica has 3.0 MB to replay after 2s")
HIDDEN = ReplayLag("role etl cannot see how far the standby replica has replayed", is_known=False, is_hidden=True)
UNASKED = ReplayLag("cannot query how far standbys have replayed: gone", is_known=False)


@pytest.mark.parametrize(("lag", "longer"), [(ReplayLag(), False), (UNASKED, False), (BEHIND, True), (HIDDEN, True)])
def test_the_time_out_does_not_count_while_a_standby_is_or_may_be_behind(web: WebServer, lag: ReplayLag, longer: bool) -> None:
    """Up to the deadline of the run. The warning says what is known about the standby."""
    web.headers["X-Data-Version"] = "old"
    step = CacheStep(web.url, ("/a",), timedelta(seconds=1), CacheVersion(header="X-Data-Version"))
    began = time.monotonic()
    call = WarmupContext(time.monotonic, time.sleep, began + 60, version="new", lag=lambda: lag, lag_deadline=began + 3)
    (found,) = warm(step, call)
    assert (time.monotonic() - began > 2) is longer
    assert found.state is StepState.WARNED
    assert found.message == "serves other data; new is live" + (f"; {lag.text}" if lag.text else "")
