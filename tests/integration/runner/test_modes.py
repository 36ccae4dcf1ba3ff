"""What a run publishes, and when: with Swap or Direct, all marts or some, rollback and hold."""

from __future__ import annotations

import json

from refresh_api.run_request import RefreshRef
from refresh_api.status import Outcome, Reason
from support.runner_harness import REF, RunnerHarness, RunResult
from support.webserver import WebServer

VERSION = "select version, previous_version, held_since is not null, (marts -> 'dwh_marts.mart_a' ->> 'rows')::int from dbt_refresh_version"


def count(runner: RunnerHarness, relation: str = "dwh_marts.mart_a") -> int:
    return int(str(runner.database.rows(f"select count(*) from {relation}")[0][0]))


def grow(runner: RunnerHarness, rows: int) -> None:
    """Set the number of lines in the source."""
    runner.database.run(f"truncate src.lignes; insert into src.lignes select n, n, 1, 0 from generate_series(1, {rows}) n")


def outcome(ran: RunResult) -> tuple[object, ...]:
    assert ran.termination_message is not None, ran.output
    return ran.termination_message.outcome, ran.termination_message.reason, ran.termination_message.marts


def is_tidy(runner: RunnerHarness) -> bool:
    """Return whether nothing is left beside the live marts."""
    return (
        runner.database.rows("select relname from pg_class c join pg_namespace n on n.oid = relnamespace where nspname like '%\\_\\_next'")
        == []
    )


def test_a_run_that_fails_after_its_marts_leaves_the_live_ones_as_they_were(runner: RunnerHarness, web: WebServer) -> None:
    """The empty mart is found in staging. With Direct, readers would have seen it."""
    assert outcome(runner.run()) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    first = f"petit-{runner.run_count}"
    grow(runner, 0)
    assert outcome(runner.run()) == (Outcome.FAILED, Reason.VALIDATION_FAILED, "0/2")
    assert (count(runner), runner.log_rows()[-1][:2]) == (100, (False, 0))
    assert runner.database.rows(VERSION) == [(first, None, False, 100)]
    assert is_tidy(runner)
    web.asked.clear()

    assert outcome(runner.run(runner.spec(publish="Direct"))) == (Outcome.FAILED, Reason.VALIDATION_FAILED, "0/2")
    assert (count(runner), runner.log_rows()[-1][:2]) == (0, (False, 2))


def test_a_failing_test_that_should_fail_the_run_publishes_nothing(runner: RunnerHarness) -> None:
    """The tests read the staged data."""
    runner.run()
    runner.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = runner.run(runner.spec(tests={"select": ["tag:P2"], "failurePolicy": "Fail"}))
    assert outcome(ran)[1] is Reason.TESTS_FAILED
    assert (count(runner), is_tidy(runner)) == (100, True)


def test_the_version_before_is_put_back_and_held_until_somebody_resumes(runner: RunnerHarness, web: WebServer) -> None:
    """Meanwhile scheduled runs are skipped with a hint. The API is called after the rollback."""
    runner.run()
    grow(runner, 50)
    runner.run()
    one, two = (f"petit-{runner.run_count - back}" for back in (1, 0))
    web.asked.clear()

    back = runner.run(mode="rollback")
    assert outcome(back) == (Outcome.SUCCEEDED, Reason.ROLLED_BACK, "2/2")
    assert (count(runner), runner.database.rows(VERSION)) == (100, [(one, two, True, 100)])
    assert len(web.asked) == 2
    assert runner.log_rows()[-1][:3] == (True, 2, "Petit refresh - 2/2 marts validated (rollback)")

    again = runner.run(mode="rollback")
    assert (outcome(again)[0], count(runner)) == (Outcome.SUCCEEDED, 100)

    held = runner.run()
    assert outcome(held)[:2] == (Outcome.SKIPPED, Reason.PUBLISHING_HELD)
    assert f"publishing is on hold since the rollback to {one}" in held.messages

    assert outcome(runner.run(mode="resume")) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert (count(runner), runner.database.rows(VERSION)) == (50, [(f"petit-{runner.run_count}", one, False, 50)])


def test_what_was_live_before_a_run_is_kept_however_often_it_publishes(runner: RunnerHarness) -> None:
    """An attempt has published, and its pod has died while it called the API. The next attempt publishes again."""
    runner.run(RUN_ID="petit-un")
    grow(runner, 50)
    runner.run(RUN_ID="petit-deux")
    assert runner.run(RUN_ID="petit-deux", failures=1).code == 0
    assert runner.database.rows(VERSION) == [("petit-deux", "petit-un", False, 50)]
    assert outcome(runner.run(mode="rollback")) == (Outcome.SUCCEEDED, Reason.ROLLED_BACK, "2/2")
    assert (count(runner), runner.database.rows(VERSION)) == (100, [("petit-un", "petit-deux", True, 100)])


def test_there_is_nothing_to_put_back_after_the_first_version(runner: RunnerHarness) -> None:
    """The run reports this and changes nothing."""
    runner.run()
    ran = runner.run(mode="rollback")
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.PUBLISH_FAILED)
    assert "petit has no previous version to roll back to" in ran.messages
    assert count(runner) == 100


def test_what_another_refresh_has_published_since_is_not_put_back(runner: RunnerHarness) -> None:
    """Of two refreshes with the same marts, the earlier version of one is no longer kept. The message names the other refresh."""
    runner.run()
    runner.run()
    runner.ref = RefreshRef(name="grand", namespace="essai")
    runner.run()
    runner.ref = REF
    ran = runner.run(mode="rollback")
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.PUBLISH_FAILED)
    assert "grand has published some of the same marts since" in ran.messages


def test_a_run_from_a_step_leaves_out_those_before(runner: RunnerHarness) -> None:
    """The facts stay unchanged. The marts are built from them and published."""
    runner.run()
    grow(runner, 50)
    ran = runner.run(mode="from=marts")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert "2/6 facts Skipped: left out by the run's mode from=marts" in ran.messages
    assert (count(runner), count(runner, "dwh_facts.fait_lignes")) == (100, 100)
    assert runner.database.rows(VERSION)[0][0] == f"petit-{runner.run_count}"


def test_a_run_of_one_step_does_only_that(runner: RunnerHarness, web: WebServer) -> None:
    """The API is called. The dbt project is not parsed, and no mart is reported."""
    runner.run()
    web.asked.clear()
    before = runner.database.rows(VERSION)
    ran = runner.run(mode="only=cache")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, None)
    assert (len(web.asked), runner.database.rows(VERSION)) == (2, before)


def test_what_is_unlike_other_runs_or_doubled_or_old_is_a_warning(runner: RunnerHarness) -> None:
    """As soon as there are three published runs to compare with. Each mart's message names all deviations."""
    for _ in range(3):
        runner.run(runner.spec(validation={"marts": [{"relation": "dwh_marts.mart_a"}]}))
    grow(runner, 70)
    ran = runner.run(
        runner.spec(validation={"marts": [{"relation": "dwh_marts.mart_a", "maxRowCountChange": "20%", "uniqueKey": ["mois"]}]})
    )
    assert outcome(ran) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "0/1")
    assert "69 rows duplicate the mois of another row, 70 rows are 30% fewer than the usual 100" in ran.messages
    assert runner.database.rows("select rows, duplicates from dbt_refresh_mart order by validated_at desc limit 1") == [(70, 69)]


def test_sources_that_were_not_loaded_in_time_warn_skip_or_fail_the_run(runner: RunnerHarness) -> None:
    """According to the project's freshness, and before anything is built. With fresh sources, the run continues."""
    runner.database.run("alter table src.lignes add column chargee timestamptz default now()")
    assert outcome(runner.run(runner.spec(sources={"stalePolicy": "Fail"}))) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    runner.database.run("update src.lignes set chargee = now() - interval '40 hours'")
    ran = runner.run(runner.spec(sources={}))
    assert outcome(ran) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "2/2")
    assert "1/7 sources Warned: src.lignes was last loaded 40h" in ran.messages

    before = runner.database.rows(VERSION)
    skipped = runner.run(runner.spec(sources={"stalePolicy": "Skip"}))
    assert outcome(skipped)[:2] == (Outcome.SKIPPED, Reason.SOURCES_STALE)
    failed = runner.run(runner.spec(sources={"stalePolicy": "Fail"}))
    assert outcome(failed)[:2] == (Outcome.FAILED, Reason.SOURCES_STALE)
    assert runner.database.rows(VERSION) == before
    assert len(runner.log_rows()) == 3

    runner.database.run("update src.lignes set chargee = null")
    ran = runner.run(runner.spec(sources={}))
    assert "src.lignes was never loaded: none of its rows has a value in loaded_at_field" in ran.messages


def cache(web: WebServer, **further: object) -> dict[str, object]:
    return {"baseURL": web.url, "endpoints": ["/a", "/b"], "timeout": "2s", **further}


def test_each_endpoint_must_serve_what_is_live_where_the_api_says_what_it_serves(runner: RunnerHarness, web: WebServer) -> None:
    """It is called until it does. An endpoint that serves older data, or states no version, is a warning that names both versions."""
    spec = runner.spec(cache=cache(web, version={"header": "X-Data-Version"}))
    web.headers["X-Data-Version"] = f"petit-{runner.run_count + 1}"
    assert outcome(runner.run(spec))[:2] == (Outcome.SUCCEEDED, Reason.SUCCEEDED)

    ran = runner.run(spec)
    assert outcome(ran)[:2] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert f"/a, /b: serves the data of petit-{runner.run_count - 1}; petit-{runner.run_count} is live" in ran.messages
    assert len(web.asked) > 6

    web.headers.clear()
    assert "does not say in the header X-Data-Version which data it serves" in runner.run(spec, mode="only=cache").messages
    web.body = json.dumps({"meta": {"version": f"petit-{runner.run_count - 1}"}})
    spec = runner.spec(cache=cache(web, version={"field": "meta.version"}))
    assert outcome(runner.run(spec, mode="only=cache"))[0] is Outcome.SUCCEEDED


def test_endpoints_may_come_from_the_projects_exposures(runner: RunnerHarness, web: WebServer) -> None:
    """The endpoints of each mart are called once.

    A mart without any is a warning. The project is parsed even if nothing else requires it.
    """
    runner.run()
    web.asked.clear()
    spec = runner.spec(cache={"baseURL": web.url, "endpoints": ["/a"], "fromExposures": True})
    ran = runner.run(spec, mode="only=cache")
    assert web.paths() == ["/a", "/exposed"]
    assert outcome(ran)[:2] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert "dwh_marts.mart_b: no exposure declares an endpoint" in ran.messages


def test_the_api_may_ask_who_calls(runner: RunnerHarness, web: WebServer) -> None:
    """The header's value comes from a Secret and never appears in output. Without it, no endpoint is called."""
    spec = runner.spec(cache=cache(web, authorizationSecretRef={"name": "api", "key": "bearer"}))
    runner.secrets["api"] = {"bearer": "Bearer tres-secret-42"}
    ran = runner.run(spec)
    assert {asked.headers["Authorization"] for asked in web.asked} == {"Bearer tres-secret-42"}
    assert "tres-secret-42" not in ran.output

    web.asked.clear()
    runner.secrets["api"] = {"bearer": ""}
    ran = runner.run(spec, mode="only=cache")
    assert outcome(ran)[0] is Outcome.WARNED
    assert "not called: the Secret 'api' has no key 'bearer'" in ran.messages
    assert web.asked == []


def test_a_mart_that_others_of_the_run_read_must_be_published_with_them(runner: RunnerHarness) -> None:
    """Otherwise a view would read staged or dropped data. The message says what to do."""
    spec = runner.spec(
        layers=[{"name": "all", "select": ["stg_lignes", "fait_lignes", "fait_jours", "mart_a", "mart_b"]}],
        validation={"marts": [{"relation": "dwh_facts.fait_lignes"}]},
    )
    ran = runner.run(spec)
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.INVALID_PROJECT)
    assert "mart_a reads dwh_facts.fait_lignes" in ran.messages


def test_a_run_of_some_models_builds_and_publishes_only_those(runner: RunnerHarness, web: WebServer) -> None:
    """The other marts stay live and name the run that built them. All marts are tested and validated, and the API is called."""
    runner.run()
    first = f"petit-{runner.run_count}"
    grow(runner, 50)
    web.asked.clear()
    ran = runner.run(mode="select=mart_a fait_lignes stg_lignes")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert (count(runner), count(runner, "dwh_marts.mart_b"), count(runner, "dwh_facts.fait_jours")) == (50, 100, 100)
    versions = "select marts -> 'dwh_marts.mart_a' ->> 'version', marts -> 'dwh_marts.mart_b' ->> 'version' from dbt_refresh_version"
    assert runner.database.rows(versions) == [(f"petit-{runner.run_count}", first)]
    assert runner.log_rows()[-1][:3] == (True, 1, "Petit refresh - 2/2 marts validated (select=mart_a fait_lignes stg_lignes)")
    assert (len(web.asked), is_tidy(runner)) == (2, True)

    assert outcome(runner.run(mode="rollback"))[0] is Outcome.SUCCEEDED
    assert (count(runner), count(runner, "dwh_marts.mart_b")) == (100, 100)


def test_a_run_of_some_models_that_are_no_marts_publishes_nothing(runner: RunnerHarness) -> None:
    """Layers without any of the models are skipped with a message. The live version does not change."""
    runner.run()
    before = runner.database.rows(VERSION)
    grow(runner, 50)
    ran = runner.run(mode="select=path:models/facts")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert "1/6 staging Skipped: left out by the run's mode select=path:models/facts, which selects none of its models" in ran.messages
    assert (count(runner), count(runner, "dwh_facts.fait_lignes"), runner.database.rows(VERSION)) == (100, 50, before)
    assert runner.log_rows()[-1][1] == 0


def test_a_run_of_models_that_the_refresh_does_not_build_is_refused(runner: RunnerHarness) -> None:
    """A run never builds the models of other refreshes."""
    ran = runner.run(mode="select=stg_autres")
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.INVALID_RUN_REQUEST)
    assert "select=stg_autres: selects no model that a layer of petit builds" in ran.messages


def test_variables_of_one_run_go_before_those_of_the_refresh(runner: RunnerHarness) -> None:
    """They apply to dbt, to the date relative to which ages are computed, and to the run's row."""
    newest = {"column": "mois", "maxAgeDays": 7}
    spec = runner.spec(dbt={"vars": {"as_of": "2020-01-01"}}, validation={"marts": [{"relation": "dwh_marts.mart_a", "recency": newest}]})
    runner.database.run("alter table src.lignes alter column mois type date using date '2026-01-01'")
    assert outcome(runner.run(spec))[0] is Outcome.SUCCEEDED
    ran = runner.run(spec, VARS='{"as_of": "2026-03-01", "zone": 5}')
    assert "its newest mois is 2026-01-01, 59 days before 2026-03-01" in ran.messages
    assert runner.database.rows("select vars from dbt_refresh_run order by started_at") == [(None,), ({"as_of": "2026-03-01", "zone": 5},)]
