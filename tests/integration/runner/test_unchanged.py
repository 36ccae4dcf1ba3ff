"""`unchangedPolicy: Skip`: a scheduled run builds nothing if nothing has changed, and only if that is certain."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Outcome, Reason
from support.runner_harness import SLOWNESS, Json, RunnerHarness, RunResult
from support.webserver import WebServer

_minutes = itertools.count(29_000_000)
OTHERS = "create schema if not exists dwh_staging; create table dwh_staging.stg_autres as select 1 as id"


@pytest.fixture
def stands(runner: RunnerHarness) -> RunnerHarness:
    """The runner, with current marts. The project reads a source, and a table that another refresh builds."""
    runner.database.run(OTHERS)
    assert reason(scheduled(runner)) is Reason.SUCCEEDED
    return runner


def spec(runner: RunnerHarness, **changes: object) -> Json:
    """Return a refresh with unchangedPolicy: Skip."""
    made = runner.spec(**{"unchangedPolicy": "Skip", **changes})
    if "fait_autres" not in made["layers"][1]["select"]:
        made["layers"][1]["select"].append("fait_autres")
    return made


def scheduled(runner: RunnerHarness, run: str | None = None, failures: int = 0, **changes: object) -> RunResult:
    """Run like a CronJob's Job, whose name ends in the minute of its scheduled time."""
    runner.database.settle()
    return runner.run(spec(runner, **changes), failures, RUN_ID=run or f"petit-{next(_minutes)}")


def reason(ran: RunResult) -> Reason | None:
    assert ran.termination_message is not None, ran.output
    return ran.termination_message.reason


def test_marts_that_would_be_the_same_are_left_as_they_are(stands: RunnerHarness, web: WebServer) -> None:
    """The run succeeds without a step or a call, and names the run since which nothing has changed.

    So does the next run. The control builds: `Run`, the default.
    """
    version = stands.database.rows("select version, published_at from dbt_refresh_version")
    web.asked.clear()
    ran = scheduled(stands)
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.outcome, ran.termination_message.reason) == (0, Outcome.SUCCEEDED, Reason.NOTHING_CHANGED)
    assert (ran.termination_message.message, ran.termination_message.marts) == (f"nothing has changed since {version[0][0]}", None)
    assert stands.log_rows()[-1][:3] == (True, 0, f"Petit refresh - nothing has changed since {version[0][0]}")
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED
    assert stands.database.rows("select version, published_at from dbt_refresh_version") == version
    assert web.asked == []
    assert reason(scheduled(stands, unchangedPolicy="Run")) is Reason.SUCCEEDED


CHANGES = {
    "a line more": ("insert into src.lignes values (101, 1, 1, 0)", "src.lignes has 1 new rows, and 0 fewer"),
    "another line": ("update src.lignes set zone = 5 where id = 7", "src.lignes has 1 new rows, and 1 fewer"),
    "the same line again": ("update src.lignes set zone = zone where id = 7", "src.lignes has 1 new rows, and 1 fewer"),
    "a line fewer": ("delete from src.lignes where id = 7", "src.lignes has 0 new rows, and 1 fewer"),
    "as many, others": (
        "delete from src.lignes where id = 7; insert into src.lignes values (7, 7, 8, 0)",
        "src.lignes has 1 new rows, and 1 fewer",
    ),
    "emptied and filled": (
        "create table kept as table src.lignes; truncate src.lignes; insert into src.lignes table kept; drop table kept",
        "src.lignes was replaced, truncated, rewritten or given other columns",
    ),
    "a line that came and went": (
        "insert into src.lignes values (101, 1, 1, 0); delete from src.lignes where id = 101",
        "src.lignes was written to, and may have had other rows in between",
    ),
    "columns that changed their names": (
        "alter table src.lignes rename zone to a; alter table src.lignes rename mois to zone; alter table src.lignes rename a to mois",
        "src.lignes was replaced, truncated, rewritten or given other columns",
    ),
    "another's model": ("update dwh_staging.stg_autres set id = 2", "dwh_staging.stg_autres has changed"),
    "another's model, its columns": (
        "alter table dwh_staging.stg_autres add column autre integer",
        "dwh_staging.stg_autres has changed",
    ),
    "a mart emptied by hand": ("truncate dwh_marts.mart_b", "dwh_marts.mart_b was replaced, truncated"),
    "a mart changed by hand": ("update dwh_marts.mart_b set mois = 0 where id = 1", "dwh_marts.mart_b has 1 new rows, and 1 fewer"),
    "a fact changed by hand": ("delete from dwh_facts.fait_jours where id = 1", "dwh_facts.fait_jours has 0 new rows, and 1 fewer"),
    "a view of ours": (
        "create or replace view dwh_staging.stg_lignes as select id, zone, nap, 0 as mois from src.lignes",
        "dwh_staging.stg_lignes has changed",
    ),
}


@pytest.mark.parametrize(("change", "why"), CHANGES.values(), ids=CHANGES.keys())
def test_whatever_has_changed_is_built(stands: RunnerHarness, change: str, why: str) -> None:
    """The log names the change. The next run has nothing to do again."""
    stands.database.run(change)
    ran = scheduled(stands)
    assert reason(ran) is Reason.SUCCEEDED
    assert f"running all steps: {why}" in ran.messages
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED


def test_a_mart_that_is_gone_is_built(stands: RunnerHarness) -> None:
    """Afterwards it exists again."""
    stands.database.run("drop table dwh_marts.mart_b")
    ran = scheduled(stands)
    assert (reason(ran), "cannot tell whether anything has changed: dwh_marts.mart_b does not exist" in ran.messages) == (
        Reason.SUCCEEDED,
        True,
    )
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED


@pytest.mark.parametrize("changes", [{"publish": "Direct"}, {"validation": None}])
def test_a_refresh_that_swaps_nothing_asks_the_same(stands: RunnerHarness, changes: Json) -> None:
    """What it builds is live at once. A manual change is still detected."""
    assert reason(scheduled(stands, **changes)) is Reason.SUCCEEDED
    assert reason(scheduled(stands, **changes)) is Reason.NOTHING_CHANGED
    stands.database.run("update dwh_marts.mart_b set mois = 0 where id = 1")
    assert reason(scheduled(stands, **changes)) is Reason.SUCCEEDED


def test_what_a_view_of_another_refresh_reads_is_followed_in_the_warehouse(stands: RunnerHarness) -> None:
    """In place of a table of the project, another image may have created a view of a table that the project does not know."""
    stands.database.run("create table src.autres as select 1 as id; drop table dwh_staging.stg_autres cascade")
    stands.database.run("create view dwh_staging.stg_autres as select id from src.autres")
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED
    stands.database.run("drop view dwh_staging.stg_autres; create view dwh_staging.stg_autres as select id from src.autres")
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED
    stands.database.run("update src.autres set id = 2")
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    stands.database.run("drop table src.autres cascade")


def test_what_was_written_but_not_committed_then_has_changed(stands: RunnerHarness) -> None:
    """The transaction began before the run that did not see its rows."""
    with stands.database.connect() as writer:
        writer.execute("begin; insert into src.lignes values (101, 1, 1, 0)")
        writer.execute("savepoint s; insert into src.lignes values (102, 1, 1, 0); release s")
        assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED
        writer.execute("commit")
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    assert stands.database.rows("select count(*) from dwh_marts.mart_a") == [(102,)]
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED


def test_what_another_refresh_has_built_anew_to_the_same_is_no_change(stands: RunnerHarness) -> None:
    """The main pipeline rebuilds its tables every ten minutes."""
    stands.database.run("drop table dwh_staging.stg_autres cascade; " + OTHERS)
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED


REFUSALS: dict[str, Callable[[RunnerHarness], RunResult]] = {
    "somebody asked for it": lambda runner: runner.run(spec(runner)),
    "another spec": lambda runner: scheduled(runner, displayName="Autre"),
    "another day": lambda runner: scheduled(runner, dbt={"vars": {"as_of": "2026-01-01"}}),
}


@pytest.mark.parametrize("ask", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_is_asked_for_otherwise_is_built(stands: RunnerHarness, ask: Callable[[RunnerHarness], RunResult]) -> None:
    """The data has not changed, but the run request has."""
    assert reason(ask(stands)) is Reason.SUCCEEDED


def test_after_a_run_that_only_warned_all_is_built(stands: RunnerHarness, web: WebServer) -> None:
    """Otherwise its warning would disappear, and the API's cache would stay cold."""
    stands.database.run("insert into src.lignes values (101, 1, 1, 0)")
    web.statuses["/a"] = 500
    assert reason(scheduled(stands)) is Reason.SUCCEEDED_WITH_WARNINGS
    web.statuses.clear()
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED


@pytest.mark.slow
def test_after_a_roll_back_nothing_is_taken_for_unchanged(stands: RunnerHarness) -> None:
    """The live version is not the one that was built last."""
    stands.database.run("insert into src.lignes values (101, 1, 1, 0)")
    scheduled(stands)
    stands.run(spec(stands), mode="rollback")
    assert reason(scheduled(stands)) is Reason.PUBLISHING_HELD
    assert reason(stands.run(spec(stands), mode="resume")) is Reason.SUCCEEDED
    assert reason(scheduled(stands)) is Reason.SUCCEEDED


def test_a_further_attempt_answers_for_what_the_first_one_had_read(stands: RunnerHarness) -> None:
    """It reuses a fact of the first attempt.

    Rows that arrived later count as a change in the next run, even if they arrived before this attempt.
    """
    layers = spec(stands)["layers"]
    layers[1] |= {"timeout": f"{2 * SLOWNESS}s", "retries": 0}
    run = f"petit-{next(_minutes)}"
    stands.database.run("insert into src.lignes values (101, 1, 1, 60)")
    assert scheduled(stands, run, layers=layers).code == ExitCode.RETRY
    stands.database.run("update src.lignes set nap = 0 where id = 101; insert into src.lignes values (102, 1, 1, 0)")
    again = scheduled(stands, run, failures=1, layers=layers)
    assert (reason(again), "kept from an earlier attempt" in again.output) == (Reason.SUCCEEDED, True)
    assert stands.database.rows("select count(*) from dwh_marts.mart_b") == [(101,)]
    assert reason(scheduled(stands, layers=layers)) is Reason.SUCCEEDED
    assert stands.database.rows("select count(*) from dwh_marts.mart_b") == [(102,)]


def test_where_it_can_not_be_shown_all_is_built(stands: RunnerHarness) -> None:
    """A partitioned source has no rows of its own."""
    stands.database.run("""
        alter table src.lignes rename to lignes_;
        create table src.lignes (like src.lignes_ including defaults) partition by range (id);
        alter table src.lignes attach partition src.lignes_ default;
    """)
    for _ in range(2):
        ran = scheduled(stands)
        assert reason(ran) is Reason.SUCCEEDED
        assert "cannot tell whether anything has changed: src.lignes is not a plain table" in ran.messages


@pytest.fixture
def few_digits(stands: RunnerHarness) -> Iterator[None]:
    """Sessions write numbers with one digit unless they ask for more."""
    setting = "do $$ begin execute format('alter database %I {} extra_float_digits{}', current_database()); end $$"
    stands.database.run(setting.format("set", " = -14"))
    yield
    stands.database.run(setting.format("reset", ""))


@pytest.mark.slow
@pytest.mark.usefixtures("few_digits")
def test_no_output_format_of_the_session_hides_a_change(stands: RunnerHarness) -> None:
    """Rows are compared by their text, and with fewer digits two numbers have the same one. The control: a run without a change."""
    stands.database.run("""
        alter table dwh_staging.stg_autres add column surface double precision;
        update dwh_staging.stg_autres set surface = 0.1
    """)
    assert stands.database.rows("select 0.125::float8::text") == [("0.1",)]
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED
    stands.database.run("update dwh_staging.stg_autres set surface = 0.1000001")
    assert reason(scheduled(stands)) is Reason.SUCCEEDED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("triplet", Reason.SUCCEEDED), ("humeur", Reason.NOTHING_CHANGED), ("positif", Reason.NOTHING_CHANGED)],
)
def test_a_type_of_which_two_values_may_have_one_text_is_not_compared_by_it(stands: RunnerHarness, kind: str, expected: Reason) -> None:
    """A composite type, whose fields may be of any type. The labels of an enum differ, as do the values of a domain."""
    stands.database.run(f"""
        create type dwh_staging.triplet as (a integer, b integer);
        create type dwh_staging.humeur as enum ('bonne', 'mauvaise');
        create domain dwh_staging.positif as integer check (value > 0);
        alter table dwh_staging.stg_autres add column autre dwh_staging.{kind}
    """)
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    ran = scheduled(stands)
    assert reason(ran) is expected
    unknown = "dwh_staging.stg_autres has a column of a type that does not come with PostgreSQL"
    assert (unknown in ran.output) == (expected is Reason.SUCCEEDED)


def test_what_a_source_that_is_a_view_reads_is_followed(stands: RunnerHarness) -> None:
    """The tables that the view reads are tracked."""
    stands.database.run("alter table src.lignes rename to lignes_; create view src.lignes as select * from src.lignes_")
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
    assert reason(scheduled(stands)) is Reason.NOTHING_CHANGED
    stands.database.run("update src.lignes_ set zone = 5 where id = 7")
    assert reason(scheduled(stands)) is Reason.SUCCEEDED
