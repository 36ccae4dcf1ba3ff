"""Faults around a run: connection poolers, silent connections, other runs, failing channels and APIs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.ports import free_port
from refresh_api.run_request import ExitCode
from refresh_api.status import Outcome, Reason
from support.pooler import pooler
from support.proxy import Proxy
from support.runner_harness import RunResult
from support.slow_refresh import LABELS, SlowRefresh


def said(ran: RunResult) -> tuple[object, object, str]:
    """Return exit code, reason and message of a run."""
    assert ran.termination_message is not None, ran.output
    return ran.code, ran.termination_message.reason, ran.termination_message.message or ""


@contextmanager
def through(slow_refresh: SlowRefresh, port: int) -> Iterator[None]:
    """Make runs connect to the warehouse by another port."""
    secret = slow_refresh.runner.secrets["warehouse"]
    before, secret["port"] = secret["port"], str(port)
    yield
    secret["port"] = before


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_named(slow_refresh: SlowRefresh, tmp_path: Path, mode: str):
    """A session lock acquired through it would belong to any client.

    The run fails at once and for good, and says where to connect instead.
    """
    before = slow_refresh.live_generations()
    with pooler(slow_refresh.runner.database, tmp_path, mode) as port, through(slow_refresh, port):
        ran = slow_refresh.runner.run(slow_refresh.spec())
    code, reason, message = said(ran)
    assert (code, reason) == (ExitCode.FAILED, Reason.WAREHOUSE_UNREACHABLE), ran.output
    assert "is a connection pooler that shares sessions between clients: a run cannot hold the warehouse lock there" in message
    assert slow_refresh.live_generations() == before


def test_a_pooler_that_keeps_sessions_is_fine(slow_refresh: SlowRefresh, tmp_path: Path):
    """The positive control of the two tests above: the same pooler in session mode."""
    with pooler(slow_refresh.runner.database, tmp_path, "session") as port, through(slow_refresh, port):
        ran = slow_refresh.runner.run(slow_refresh.spec())
    assert ran.code == 0, ran.output
    assert slow_refresh.live_generations() == {slow_refresh.generation}


def test_behind_a_pooler_postgresql_ends_what_takes_too_long(slow_refresh: SlowRefresh, tmp_path: Path):
    """PostgreSQL's statement timeout works through a pooler. The runner's own, three seconds later, has another message."""
    slow_refresh.slow_down("facts", 60)
    spec = slow_refresh.spec()
    for layer in spec["layers"]:
        layer["timeout"] = "10s"
    with pooler(slow_refresh.runner.database, tmp_path, "session") as port, through(slow_refresh, port):
        code, reason, message = said(slow_refresh.runner.run(spec, 2, RUN_ID="fault-pooled"))
    assert (code, reason) == (ExitCode.FAILED, Reason.LAYER_FAILED)
    assert "canceling statement due to statement timeout" in message
    slow_refresh.assert_clean_after("fault-pooled", rows=1)


@pytest.mark.parametrize("step", ["facts", "validation"])
def test_behind_a_pooler_a_run_ends_when_it_is_told_to(slow_refresh: SlowRefresh, tmp_path: Path, step: str):
    """Process IDs differ behind a pooler, so sessions cannot be terminated by them."""
    with pooler(slow_refresh.runner.database, tmp_path, "session") as port, through(slow_refresh, port):
        process = slow_refresh.start_until_in_step(step, f"fault-pooled-{step}", 60)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        ran = slow_refresh.runner.wait_for_exit(process, within=60)
        assert time.monotonic() - started < 10
        assert said(ran) == (ExitCode.INTERRUPTED, Reason.INTERRUPTED, f"interrupted by SIGTERM during {LABELS[step]}"), ran.output
        slow_refresh.assert_no_session_is_left()
        slow_refresh.speed_up()
        assert slow_refresh.run_next_attempt(f"fault-pooled-{step}", failures=0).code == 0
    slow_refresh.assert_clean_after(f"fault-pooled-{step}", rows=1)


def test_behind_a_pooler_nothing_of_a_killed_run_runs_on(slow_refresh: SlowRefresh, tmp_path: Path):
    """The pooler closes the connection of a dead client, and PostgreSQL checks whether its client still exists."""
    with pooler(slow_refresh.runner.database, tmp_path, "session") as port, through(slow_refresh, port):
        process = slow_refresh.start_until_in_step("facts", "fault-pooled", 60)
        process.kill()
        process.communicate()
        slow_refresh.assert_no_session_is_left()
        slow_refresh.speed_up()
        assert slow_refresh.run_next_attempt("fault-pooled").code == 0
    slow_refresh.assert_clean_after("fault-pooled", rows=1)


@pytest.mark.parametrize("step", ["facts", "validation"])
def test_a_line_that_falls_silent_does_not_hold_the_end_up(slow_refresh: SlowRefresh, step: str):
    """The server accepts a connection but does not respond.

    After SIGTERM the run ends within a pod's grace period, and PostgreSQL has ended its queries.
    """
    server = slow_refresh.runner.database.server
    with Proxy(server.host, server.port) as line:
        with through(slow_refresh, line.port):
            process = slow_refresh.start_until_in_step(step, f"fault-silent-{step}")
        assert line.silence(new_ones_too=True) > 0
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        ran = slow_refresh.runner.wait_for_exit(process, within=60)
        assert time.monotonic() - started < 28
        assert said(ran)[:2] == (ExitCode.INTERRUPTED, Reason.INTERRUPTED), ran.output
    slow_refresh.assert_next_attempt_succeeds(f"fault-silent-{step}", failures=0)


def test_two_runs_at_once_work_one_after_the_other(slow_refresh: SlowRefresh):
    """One waits for the lock of the other. Both succeed, and their times in dbt_refresh_run do not overlap."""
    slow_refresh.slow_down("facts", 4)
    processes = [slow_refresh.runner.start_process(slow_refresh.spec(), RUN_ID=f"fault-{name}") for name in ("one", "two")]
    both = [slow_refresh.runner.wait_for_exit(process, within=120) for process in processes]
    assert [ran.code for ran in both] == [0, 0], both
    assert sum(", which holds the warehouse lock" in ran.messages for ran in both) == 1
    times = "select attempt_started_at, ended_at from dbt_refresh_run where run_id in ('fault-one', 'fault-two') order by 1"
    (_, first_ended), (second_started, _) = slow_refresh.runner.database.rows(times)
    assert str(first_ended) <= str(second_started)
    slow_refresh.assert_clean_after("fault-one", rows=1)
    slow_refresh.assert_clean_after("fault-two", rows=1)


def test_an_api_that_is_half_up_only_warns(slow_refresh: SlowRefresh):
    """One endpoint is too slow, another one fails: both are named, and the data are live."""
    slow_refresh.web.statuses["/b"] = 500
    slow_refresh.slow_down("cache")
    spec = slow_refresh.spec()
    ran = slow_refresh.runner.run({**spec, "cache": {**spec["cache"], "timeout": "2s"}}, RUN_ID="fault-api")
    del slow_refresh.web.statuses["/b"]
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.outcome) == (0, Outcome.WARNED)
    assert "/a: no complete response within" in (ran.termination_message.message or "")
    assert "/b: answered 500" in (ran.termination_message.message or "")
    assert slow_refresh.live_generations() == {slow_refresh.generation}
    slow_refresh.assert_clean_after("fault-api", rows=1)


def test_channels_that_are_down_change_nothing(slow_refresh: SlowRefresh):
    """The run fails for its own reason, writes its row and ends. Failed notifications are in its log."""
    slow_refresh.runner.secrets["slack"] = {"url": f"http://127.0.0.1:{free_port()}/hook"}
    slow_refresh.runner.secrets["smtp"] = {"host": "127.0.0.1", "port": str(free_port()), "from": "a@example.org", "security": "none"}
    told = [
        {"slack": {"channel": "#alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}},
        {"email": {"to": ["b@example.org"], "smtpSecretRef": {"name": "smtp"}}},
    ]
    before = slow_refresh.live_generations()
    slow_refresh.runner.database.run("create table src.aside as table src.lignes; truncate src.lignes")
    # Sources without rows are stale as well, and would end the run before it builds.
    ran = slow_refresh.runner.run(slow_refresh.spec(notifications=told, sources={"stalePolicy": "Warn"}), 2, RUN_ID="fault-channels")
    slow_refresh.runner.database.run("insert into src.lignes table src.aside; drop table src.aside")
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (ExitCode.FAILED, Reason.VALIDATION_FAILED)
    assert ran.messages.count(" could not be notified: ") == 2
    assert slow_refresh.live_generations() == before
    slow_refresh.assert_clean_after("fault-channels", rows=1)
