"""How a run handles external faults. Each test first asserts that the fault occurred."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest

from cluster.ports import free_port
from refresh_api.run_request import ExitCode
from refresh_api.status import Outcome, Reason, RunPhase
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import RunFailedError
from refresh_runner.postgres.advisory_lock import NAMESPACE
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import ConnectionInfo
from support.eventually import eventually
from support.runner_harness import SLOWNESS, RunnerHarness, RunResult, hold_advisory_lock, in_background, warehouse_connection

# A layer with a model that sleeps for as long as the source says.
SLOW = {
    "tests": None,
    "validation": None,
    "cache": None,
    "layers": [{"name": "facts", "select": ["stg_lignes", "fait_lignes"], "retries": 0}],
}
NAP = "pg_sleep"


def asleep(runner: RunnerHarness, seconds: float) -> None:
    """Make the facts sleep, once for all rows."""
    runner.database.run(f"truncate src.lignes; insert into src.lignes values (1, 1, 1, {seconds})")


def sleeping(runner: RunnerHarness) -> list[tuple[object, ...]]:
    """Return the run's sleeping queries, once there are any."""
    return eventually(lambda: runner.running_queries(NAP) or None, within=30 * SLOWNESS)


def told(ran: RunResult) -> tuple[object, ...]:
    assert ran.termination_message is not None, ran.output
    return ran.code, ran.termination_message.phase, ran.termination_message.outcome, ran.termination_message.reason


def message(ran: RunResult) -> str:
    assert ran.termination_message is not None, ran.output
    return ran.termination_message.message or ""


def test_a_warehouse_that_is_away_is_tried_by_every_attempt(runner: RunnerHarness):
    """Every attempt but the last one says that another follows. The last one fails. None of them shows the password."""
    password = runner.secrets["warehouse"]["password"]
    runner.secrets["warehouse"]["port"] = str(free_port())
    first, last = runner.run(), runner.run(failures=2)
    assert told(first) == (ExitCode.RETRY, RunPhase.RETRYING, None, Reason.WAREHOUSE_UNREACHABLE)
    assert told(last) == (ExitCode.FAILED, RunPhase.FINISHED, Outcome.FAILED, Reason.WAREHOUSE_UNREACHABLE)
    assert "Connection refused" in message(last) or "refused" in message(last)
    assert password not in first.output + last.output


def test_who_was_told_to_give_up_tries_no_more():
    """A run that must end within a pod's grace period stops between two tries to connect. The control: otherwise it tries three times."""
    nobody = ConnectionInfo("127.0.0.1", free_port(), "d", "u", "p")
    slept: list[float] = []
    patient = WarehouseConnection(nobody, "patient", Clock(lambda: datetime.now(UTC), time.monotonic, slept.append))
    with pytest.raises(RunFailedError, match="cannot connect to the warehouse"):
        patient.connect()
    assert len(slept) == 2
    hasty = WarehouseConnection(nobody, "hasty", Clock(lambda: datetime.now(UTC), time.monotonic, lambda _seconds: hasty.abort()))
    with pytest.raises(RunFailedError, match="did not respond"):
        hasty.connect()


def test_a_wrong_password_is_not_shown(runner: RunnerHarness):
    """PostgreSQL's error message is shown instead."""
    runner.secrets["warehouse"]["password"] = "q%40:/'\"$"
    ran = runner.run(failures=2)
    assert told(ran)[3] is Reason.WAREHOUSE_UNREACHABLE
    assert "password authentication failed" in message(ran)
    assert "q%40" not in ran.output
    assert "q%40" not in message(ran)


@pytest.mark.slow
def test_a_run_over_its_deadline_names_the_step_and_leaves_no_query(runner: RunnerHarness):
    """pg_stat_activity shows that the query ran, and that it no longer does."""
    assert runner.run(runner.spec(**SLOW)).code == 0
    asleep(runner, 60)
    seen: list[tuple[object, ...]] = []
    with in_background(lambda: seen.extend(sleeping(runner))):
        ran = runner.run(runner.spec(**SLOW, timeout=f"{12 * SLOWNESS}s"), failures=2)
    assert [name for _, name in seen] == [f"petit-{runner.run_count}"]
    assert told(ran) == (ExitCode.FAILED, RunPhase.FINISHED, Outcome.FAILED, Reason.DEADLINE_EXCEEDED)
    assert message(ran) == f"timed out after {12 * SLOWNESS}s: stopped during 1/1 facts"
    assert runner.running_queries(NAP) == []
    assert [row[0] for row in runner.log_rows()] == [True, False]


@pytest.mark.slow
def test_a_step_over_its_time_out_is_tried_again_and_fails_with_its_model(runner: RunnerHarness):
    """PostgreSQL itself cancels the statement, so that the error names it."""
    asleep(runner, 60)
    layers = [{"name": "facts", "select": ["stg_lignes", "fait_lignes"], "timeout": f"{4 * SLOWNESS}s", "retries": 1}]
    ran = runner.run(runner.spec(**{**SLOW, "layers": layers}), failures=2)
    assert told(ran)[2:] == (Outcome.FAILED, Reason.LAYER_FAILED)
    assert "fait_lignes: Database Error" in message(ran)
    assert "canceling statement due to statement timeout" in message(ran)
    assert "retrying fait_lignes: " in ran.messages
    asleep(runner, 0)
    assert runner.run(runner.spec(**{**SLOW, "layers": layers})).code == 0


def test_a_lost_connection_costs_one_more_try_of_that_model(runner: RunnerHarness):
    """The backend that builds the model is terminated. The next try, without the sleep, succeeds."""
    asleep(runner, 60)
    ended: list[object] = []

    def end_it() -> None:
        (pid, _), *_ = sleeping(runner)
        runner.database.run("update src.lignes set nap = 0")
        ended.extend(runner.database.rows(f"select pg_terminate_backend({pid})"))

    layers = [{"name": "facts", "select": ["stg_lignes", "fait_lignes", "fait_jours"], "retries": 1}]
    with in_background(end_it):
        ran = runner.run(runner.spec(**{**SLOW, "layers": layers}))
    assert ended == [(True,)]
    assert told(ran)[0] == 0, ran.output
    assert "retrying fait_lignes: " in ran.messages
    assert ran.messages.count("OK created sql table model dwh_facts.fait_jours") == 1


def test_sigterm_ends_query_lock_and_run_within_seconds(runner: RunnerHarness):
    """As when a node is drained or a Job's deadline is exceeded: exit code 143, and the step in status and log.

    The next attempt replaces the row.
    """
    asleep(runner, 60)
    process = runner.start_process(runner.spec(**SLOW), RUN_ID="petit-ended")
    sleeping(runner)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    ran = runner.wait_for_exit(process)
    assert time.monotonic() - started < 10
    assert told(ran) == (ExitCode.INTERRUPTED, RunPhase.INTERRUPTED, None, Reason.INTERRUPTED)
    assert message(ran) == "interrupted by SIGTERM during 1/1 facts"
    assert runner.running_queries(NAP) == []
    assert runner.database.rows(f"select 1 from pg_locks where locktype = 'advisory' and classid = {NAMESPACE}") == []
    assert runner.log_rows() == [
        (False, 0, "Petit refresh - 0 models built (interrupted by SIGTERM during 1/1 facts)", "petit", "petit-ended")
    ]
    asleep(runner, 0)
    assert runner.run(runner.spec(**SLOW), RUN_ID="petit-ended").code == 0
    assert runner.log_rows() == [(True, 2, "Petit refresh - 2 models built", "petit", "petit-ended")]


def test_a_held_warehouse_is_left_alone_by_skip(runner: RunnerHarness):
    """The holder is named. No model is built, no row is written, and nothing has failed."""
    with hold_advisory_lock(runner):
        ran = runner.run(runner.spec(lock={"policy": "Skip"}))
    assert told(ran) == (ExitCode.OK, RunPhase.FINISHED, Outcome.SKIPPED, Reason.LOCK_HELD)
    assert message(ran) == "other-run holds the warehouse lock"
    assert runner.database.rows("select to_regclass('dwh_marts.mart_a'), to_regclass('dbt_refresh_log')") == [(None, None)]
    assert runner.run(runner.spec(lock={"policy": "Skip"})).code == 0


def test_a_held_warehouse_fails_a_run_that_says_so(runner: RunnerHarness):
    """The failure is final, because users asked not to wait."""
    with hold_advisory_lock(runner):
        ran = runner.run(runner.spec(lock={"policy": "Fail"}))
    assert told(ran) == (ExitCode.FAILED, RunPhase.FINISHED, Outcome.FAILED, Reason.LOCK_HELD)


def test_a_run_waits_for_the_warehouse(runner: RunnerHarness):
    """It waits until the lock is free, and names the holder."""
    with hold_advisory_lock(runner) as connection, in_background(lambda: _freed_once_waited_for(runner, connection)):
        ran = runner.run(runner.spec(lock={"policy": "Wait", "waitTimeout": "60s"}))
    assert ran.code == 0, ran.output
    assert "waiting for other-run, which holds the warehouse lock" in ran.messages


def _freed_once_waited_for(runner: RunnerHarness, connection: psycopg.Connection) -> None:
    waiting = "select 1 from pg_stat_activity where application_name like 'petit-%'"
    eventually(lambda: runner.database.rows(waiting) or None, within=30 * SLOWNESS)
    time.sleep(1.5)  # the run polls once a second; another try must have failed
    connection.close()


def test_a_run_that_waited_too_long_gives_way(runner: RunnerHarness):
    """It is skipped, not failed, because the other run keeps the dashboards fresh."""
    with hold_advisory_lock(runner):
        ran = runner.run(runner.spec(lock={"policy": "Wait", "waitTimeout": "1s"}))
    assert told(ran) == (ExitCode.OK, RunPhase.FINISHED, Outcome.SKIPPED, Reason.LOCK_HELD)
    assert message(ran) == "other-run held the warehouse lock for more than 1s"


def test_a_dead_attempt_of_the_same_run_does_not_hold_the_next_one_up(runner: RunnerHarness):
    """Its session is terminated, because it has the name of this run."""
    with hold_advisory_lock(runner, name="petit-again") as connection:
        ran = runner.run(runner.spec(lock={"policy": "Wait", "waitTimeout": "30s"}), RUN_ID="petit-again")
        assert ran.code == 0, ran.output
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_a_lost_lock_stops_the_run(runner: RunnerHarness):
    """Another run may hold the lock now. Another attempt follows."""
    asleep(runner, 60)

    def lose_it() -> None:
        sleeping(runner)
        query = f"select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = {NAMESPACE}"
        assert runner.database.rows(query) == [(True,)]

    with in_background(lose_it):
        ran = runner.run(runner.spec(**SLOW))
    assert told(ran) == (ExitCode.RETRY, RunPhase.RETRYING, None, Reason.LOCK_LOST)
    assert runner.running_queries(NAP) == []


def test_after_sigkill_the_query_ends_within_seconds_and_the_next_run_goes_on(runner: RunnerHarness):
    """PostgreSQL itself checks that the client still exists."""
    asleep(runner, 60)
    process = runner.start_process(runner.spec(**SLOW))
    sleeping(runner)
    process.kill()
    started = time.monotonic()
    process.communicate()
    eventually(lambda: runner.running_queries(NAP) == [], within=10)
    assert time.monotonic() - started < 5
    assert runner.database.rows(f"select 1 from pg_locks where locktype = 'advisory' and classid = {NAMESPACE}") == []
    asleep(runner, 0)
    assert runner.run(runner.spec(**SLOW)).code == 0


def test_what_an_earlier_attempt_left_is_ended_where_the_login_works_as_another_role(runner: RunnerHarness):
    """As with rotating passwords (`alter role … set role`), the sessions belong to the login role. Sessions of others are left alone."""
    name = runner.database.name
    runner.database.run(f"create role {name}_owner; create role {name}_login login password 'x' in role {name}_owner")
    runner.database.run(f"alter role {name}_login set role {name}_owner")
    login = {**runner.database.env, "PGUSER": f"{name}_login", "PGPASSWORD": "x"}
    dsn = psycopg.conninfo.make_conninfo(runner.database.dsn, application_name="a-run", user=login["PGUSER"], password="x")
    try:
        with (
            psycopg.connect(runner.database.dsn, application_name="a-run") as somebody,
            psycopg.connect(dsn) as left,
            warehouse_connection(login, "a-run") as ours,
        ):
            assert left.execute("select current_user, session_user").fetchone() == (f"{name}_owner", f"{name}_login")
            ours.terminate_own_sessions()
            with pytest.raises(psycopg.OperationalError):
                left.execute("select")
            somebody.execute("select")
            assert ours.connect().execute("select current_user").fetchone() == (f"{name}_owner",)
    finally:
        runner.database.run(f"drop role {name}_login; drop role {name}_owner")


def test_all_sessions_of_a_run_look_for_their_client(runner: RunnerHarness):
    """Including those that do not hold the lock: their queries of a killed run end as well."""
    asked = "select name from pg_settings where name in ('client_connection_check_interval', 'tcp_keepalives_idle') and setting <> '0'"
    before = runner.database.rows(asked)
    with warehouse_connection(runner.database.env) as ours, ours.session() as holding, closing(ours.new_connection("look")) as beside:
        assert holding.execute(asked.encode()).fetchall() == beside.execute(asked.encode()).fetchall() != before
