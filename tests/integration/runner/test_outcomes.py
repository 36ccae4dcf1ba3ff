"""Outcomes of runs with a real PostgreSQL and dbt. Each fault has a control: a run without it."""

from refresh_api.status import Outcome, Reason, RunPhase
from support.runner_harness import RunnerHarness
from support.webserver import WebServer

WELL = (True, 2, "Petit refresh - 2/2 marts validated")


def words(ran) -> tuple[object, ...]:
    return ran.termination_message.phase, ran.termination_message.outcome, ran.termination_message.reason, ran.termination_message.marts


def states(ran) -> dict[str, str]:
    """Return each step's last state according to the log."""
    found = {}
    for message in (line["message"] for line in ran.lines if line["logger"].startswith("refresh_runner")):
        label, _, rest = message.partition(" ")
        if "/" in label and label[0].isdigit():
            name, state = rest.split()[:2]
            found[name] = state.rstrip(":")
    return found


def test_a_run_does_its_six_steps(runner: RunnerHarness, web: WebServer):
    """It builds models, tests them, gives verdicts, calls the API with `no-cache`, and writes one row."""
    ran = runner.run()
    assert ran.code == 0, ran.output
    assert words(ran) == (RunPhase.FINISHED, Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert states(ran) == dict.fromkeys(["staging", "facts", "marts", "tests", "validation", "cache"], "Succeeded")
    assert [(asked.path, asked.headers["Cache-Control"]) for asked in web.asked] == [("/a", "no-cache"), ("/b", "no-cache")]
    assert runner.log_rows() == [(*WELL, "petit", f"petit-{runner.run_count}")]


def test_a_broken_model_fails_the_run(runner: RunnerHarness, web: WebServer):
    """The model and its error are named, no later step starts, the API is not called, and the row has the error."""
    runner.database.run("alter table src.lignes rename column mois to autre")
    ran = runner.run()
    assert ran.code == 1
    assert words(ran) == (RunPhase.FINISHED, Outcome.FAILED, Reason.LAYER_FAILED, "0/2")
    assert ran.termination_message is not None
    assert "1/6 staging: stg_lignes: " in (ran.termination_message.message or "")
    assert 'column "mois" does not exist' in (ran.termination_message.message or "")
    later = ["facts", "marts", "tests", "validation", "cache"]
    assert states(ran) == {"staging": "Failed", **dict.fromkeys(later, "Skipped")}
    assert "not started: 1/6 staging failed" in ran.messages
    assert web.asked == []
    assert runner.log_rows() == [(False, 0, "Petit refresh - 0/2 marts validated", "petit", f"petit-{runner.run_count}")]
    runner.database.run("alter table src.lignes rename column autre to mois")
    assert runner.run().code == 0


def test_a_failing_test_warns(runner: RunnerHarness, web: WebServer):
    """The test is counted and named. The run continues up to the cache."""
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = runner.run()
    assert ran.code == 0
    assert words(ran) == (RunPhase.FINISHED, Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "2/2")
    assert states(ran)["tests"] == "Warned"
    assert "1 of 3 tests failed (failurePolicy: Warn): unique_mart_a_id" in ran.messages
    assert web.paths() == ["/a", "/b"]
    assert runner.log_rows()[0][:3] == WELL


def test_a_failing_test_fails_the_run_where_it_should(runner: RunnerHarness, web: WebServer):
    """With failurePolicy: Fail. The marts still get their verdicts, but the API is not called."""
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = runner.run(runner.spec(tests={"select": ["tag:P2"], "failurePolicy": "Fail"}))
    assert ran.code == 1
    assert words(ran) == (RunPhase.FINISHED, Outcome.FAILED, Reason.TESTS_FAILED, "2/2")
    assert (states(ran)["validation"], states(ran)["cache"]) == ("Succeeded", "Skipped")
    assert web.asked == []
    assert runner.log_rows()[0][:3] == (False, 0, "Petit refresh - 2/2 marts validated")


def test_a_test_of_severity_warn_only_warns(runner: RunnerHarness):
    """Even if failed tests fail the run. mart_b's test has this severity, and is the only one that finds rows."""
    only_b = {"select": ["mart_b"], "failurePolicy": "Fail"}
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = runner.run(runner.spec(tests=only_b))
    assert (ran.code, words(ran)[1]) == (0, Outcome.WARNED)
    assert "unique_mart_b_id" in ran.messages


def test_a_test_that_cannot_run_counts_as_failed(runner: RunnerHarness):
    """Its table does not exist. Invalid SQL has the same effect."""
    spec = runner.spec(layers=[{"name": "facts", "select": ["stg_lignes", "fait_lignes"]}], validation=None, tests={"select": ["mart_a"]})
    ran = runner.run(spec)
    assert words(ran)[1:3] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert "2 of 2 tests failed (failurePolicy: Warn)" in ran.messages


def null_share(runner: RunnerHarness, rows: int, nulls: int):
    runner.database.run(
        f"truncate src.lignes; insert into src.lignes select n, case when n > {nulls} then n end, 1 from generate_series(1, {rows}) n"
    )
    return runner.run()


def test_nulls_in_a_key_warn_from_ten_percent_on(runner: RunnerHarness):
    """12 % and exactly 10 % warn, 9.99 % does not."""
    many, exact, fewer = null_share(runner, 100, 12), null_share(runner, 10_000, 1_000), null_share(runner, 10_000, 999)
    assert words(many)[1:] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "1/2")
    assert "zone is NULL in 12% of the rows" in many.messages
    assert words(exact)[1:] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "1/2")
    assert words(fewer)[1:] == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert [row[:3] for row in runner.log_rows()] == [(True, 2, "Petit refresh - 1/2 marts validated")] * 2 + [WELL]


def test_an_empty_mart_fails_the_run(runner: RunnerHarness, web: WebServer):
    """The API is not called, so that it does not load the empty mart."""
    runner.database.run("truncate src.lignes")
    ran = runner.run()
    assert ran.code == 1
    assert words(ran) == (RunPhase.FINISHED, Outcome.FAILED, Reason.VALIDATION_FAILED, "0/2")
    assert "dwh_marts.mart_a FAILED: it has no rows" in ran.messages
    assert states(ran)["cache"] == "Skipped"
    assert web.asked == []


def test_a_mart_that_may_be_empty_is_published_without_rows(runner: RunnerHarness):
    """Later it is filled again. Another mart that may not be empty prevents both from being published."""
    a = {"relation": "dwh_marts.mart_a", "keyColumns": ["zone"], "minRows": 0}
    strict, lenient = (
        runner.spec(validation={"marts": [a, {"relation": "dwh_marts.mart_b", "keyColumns": ["mois"], "minRows": least}]})
        for least in (1, 0)
    )
    assert words(runner.run(lenient))[3] == "2/2"
    runner.database.run("truncate src.lignes")
    assert words(runner.run(strict))[1:] == (Outcome.FAILED, Reason.VALIDATION_FAILED, "1/2")
    both = "select (select count(*) from dwh_marts.mart_a), (select count(*) from dwh_marts.mart_b)"
    assert runner.database.rows(both) == [(100, 100)]
    ran = runner.run(lenient)
    assert (words(ran)[1:], states(ran)["cache"]) == ((Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2"), "Succeeded"), ran.output
    assert runner.database.rows(both) == [(0, 0)]
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    assert words(runner.run(lenient))[3] == "2/2"
    assert runner.database.rows(both) == [(1, 1)]


def test_a_missing_mart_fails_the_run(runner: RunnerHarness):
    """The other mart keeps its verdict."""
    marts = [{"relation": "dwh_marts.mart_a", "keyColumns": ["zone"]}, {"relation": "dwh_facts.fait_autres"}]
    ran = runner.run(runner.spec(validation={"marts": marts}))
    assert words(ran)[1:] == (Outcome.FAILED, Reason.VALIDATION_FAILED, "1/2")
    assert "dwh_facts.fait_autres FAILED: table does not exist" in ran.messages


def test_an_api_that_answers_wrongly_or_late_is_a_warning_by_endpoint(runner: RunnerHarness, web: WebServer):
    """One endpoint responds with 500, one never finishes. The run succeeds."""
    web.statuses["/a"] = 500
    web.slow.add("/b")
    ran = runner.run(runner.spec(cache={"baseURL": web.url, "endpoints": ["/a", "/b"], "timeout": "2s"}))
    assert ran.code == 0
    assert words(ran) == (RunPhase.FINISHED, Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "2/2")
    assert "/a: answered 500" in ran.messages
    assert "/b: no complete response within" in ran.messages
    assert runner.log_rows()[0][:3] == WELL


def test_an_api_that_is_away_is_a_warning(runner: RunnerHarness):
    """Nothing listens at its address, which the variable sets."""
    ran = runner.run(API_BASE_URL="http://127.0.0.1:9")
    assert (ran.code, words(ran)[1]) == (0, Outcome.WARNED)
    assert "http://127.0.0.1:9 cannot be reached" in ran.messages


def test_a_model_of_another_refresh_that_is_not_there_is_named(runner: RunnerHarness):
    """The error names the refresh that builds it. Nothing is built before that."""
    spec = runner.spec(layers=[{"name": "staging", "select": ["stg_lignes"]}, {"name": "facts", "select": ["fait_autres"]}])
    ran = runner.run(spec)
    assert (ran.code, words(ran)[2]) == (1, Reason.LAYER_FAILED)
    assert ran.termination_message is not None
    assert "2/5 facts: fait_autres needs dwh_staging.stg_autres, which is not in the warehouse: run `main` once" in (
        ran.termination_message.message or ""
    )
    assert states(ran)["staging"] == "Skipped"
    runner.database.run("create schema if not exists dwh_staging; create table dwh_staging.stg_autres (id integer)")
    assert words(runner.run(spec))[2] is Reason.VALIDATION_FAILED


def test_a_selection_of_nothing_is_an_error(runner: RunnerHarness):
    """Plain dbt would report a success."""
    ran = runner.run(runner.spec(layers=[{"name": "staging", "select": ["stg_lignes", "tag:nothing"]}]))
    assert (ran.code, words(ran)[2]) == (1, Reason.INVALID_PROJECT)
    assert "tag:nothing" in ran.messages


def test_a_mart_that_the_project_does_not_know_ends_the_run_before_it_builds(runner: RunnerHarness):
    """Even if a table of that name is live: it would stay valid forever. The control: the same run with the right name."""
    runner.database.run(
        "create schema if not exists bi; create table if not exists bi.mart_a as select 1 as zone, date '2026-01-01' as mois"
    )
    assert runner.run().code == 0
    before = runner.database.rows("select 'dwh_facts.fait_lignes'::regclass::oid, 'dwh_marts.mart_a'::regclass::oid")
    ran = runner.run(runner.spec(validation={"marts": [{"relation": "bi.mart_a", "keyColumns": ["zone"]}]}))
    assert (ran.code, words(ran)[2]) == (1, Reason.INVALID_PROJECT)
    assert "no model of the dbt project is bi.mart_a" in ran.messages
    assert "did you mean dwh_marts.mart_a?" in ran.messages
    assert runner.database.rows("select 'dwh_facts.fait_lignes'::regclass::oid, 'dwh_marts.mart_a'::regclass::oid") == before


def test_dbts_own_lines_are_in_the_log(runner: RunnerHarness):
    """They are JSON with refresh, run and step."""
    ran = runner.run()
    line = next(line for line in ran.lines if "OK created sql table model dwh_marts__next.mart_a" in line["message"])
    assert (line["refresh"], line["run"], line["step"], line["logger"]) == ("essai/petit", f"petit-{runner.run_count}", "3/6 marts", "dbt")


def test_the_same_run_has_one_row(runner: RunnerHarness):
    """If the pod died between writing the row and reporting, the next attempt writes no second row."""
    runner.run(RUN_ID="petit-once")
    runner.run(RUN_ID="petit-once")
    assert [row[4] for row in runner.log_rows()] == ["petit-once"]


def test_an_order_that_is_not_understood_is_final(runner: RunnerHarness):
    """The termination message says so."""
    ran = runner.run(REFRESH_RUN_REQUEST='{"refresh": {"name": "x"}, "spec": {"layers": []}}')
    assert ran.code == 1
    assert words(ran)[:3] == (RunPhase.FINISHED, Outcome.FAILED, Reason.INVALID_RUN_REQUEST)
    assert "spec.schedule: is missing" in ran.output
