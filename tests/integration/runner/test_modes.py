"""What a run publishes, and when: swapped or not, whole or in part, put back and held."""

from __future__ import annotations

import json

from refresh_api.run_request import RefreshRef
from refresh_api.status import Outcome, Reason
from support.runs import REF, Bench, Ran
from support.webserver import WebServer

VERSION = "select version, previous_version, held_since is not null, (marts -> 'dwh_marts.mart_a' ->> 'rows')::int from dbt_refresh_version"


def count(bench: Bench, relation: str = "dwh_marts.mart_a") -> int:
    return int(str(bench.database.rows(f"select count(*) from {relation}")[0][0]))


def grow(bench: Bench, rows: int) -> None:
    """Have this many lines in the source."""
    bench.database.run(f"truncate src.lignes; insert into src.lignes select n, n, 1, 0 from generate_series(1, {rows}) n")


def outcome(ran: Ran) -> tuple[object, ...]:
    assert ran.words is not None, ran.output
    return ran.words.outcome, ran.words.reason, ran.words.marts


def is_tidy(bench: Bench) -> bool:
    """Nothing is left beside the live marts."""
    return (
        bench.database.rows("select relname from pg_class c join pg_namespace n on n.oid = relnamespace where nspname like '%\\_\\_next'")
        == []
    )


def test_a_run_that_fails_after_its_marts_leaves_the_live_ones_as_they_were(bench: Bench, web: WebServer) -> None:
    """An empty mart is found beside them; with Direct, readers would have seen it."""
    assert outcome(bench.run()) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    first = f"petit-{bench.runs}"
    grow(bench, 0)
    assert outcome(bench.run()) == (Outcome.FAILED, Reason.VALIDATION_FAILED, "0/2")
    assert (count(bench), bench.log_rows()[-1][:2]) == (100, (False, 0))
    assert bench.database.rows(VERSION) == [(first, None, False, 100)]
    assert is_tidy(bench)
    web.asked.clear()

    assert outcome(bench.run(bench.spec(publish="Direct"))) == (Outcome.FAILED, Reason.VALIDATION_FAILED, "0/2")
    assert (count(bench), bench.log_rows()[-1][:2]) == (0, (False, 2))


def test_a_failing_test_that_should_fail_the_run_publishes_nothing(bench: Bench) -> None:
    """The tests look at what is not live yet."""
    bench.run()
    bench.database.run("insert into src.lignes values (1, 1, 1, 0)")
    ran = bench.run(bench.spec(tests={"select": ["tag:P2"], "onFailure": "Fail"}))
    assert outcome(ran)[1] is Reason.TESTS_FAILED
    assert (count(bench), is_tidy(bench)) == (100, True)


def test_the_version_before_is_put_back_and_held_until_somebody_resumes(bench: Bench, web: WebServer) -> None:
    """Scheduled runs are skipped meanwhile, and say what to do; the API is called after the roll-back."""
    bench.run()
    grow(bench, 50)
    bench.run()
    one, two = (f"petit-{bench.runs - back}" for back in (1, 0))
    web.asked.clear()

    back = bench.run(mode="rollback")
    assert outcome(back) == (Outcome.SUCCEEDED, Reason.ROLLED_BACK, "2/2")
    assert (count(bench), bench.database.rows(VERSION)) == (100, [(one, two, True, 100)])
    assert len(web.asked) == 2
    assert bench.log_rows()[-1][:3] == (True, 2, "Petit refresh - 2/2 marts validated (rollback)")

    again = bench.run(mode="rollback")
    assert (outcome(again)[0], count(bench)) == (Outcome.SUCCEEDED, 100)

    held = bench.run()
    assert outcome(held)[:2] == (Outcome.SKIPPED, Reason.PUBLISHING_HELD)
    assert f"publishing is held since the roll-back to {one}" in held.messages

    assert outcome(bench.run(mode="resume")) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert (count(bench), bench.database.rows(VERSION)) == (50, [(f"petit-{bench.runs}", one, False, 50)])


def test_what_was_live_before_a_run_is_kept_however_often_it_publishes(bench: Bench) -> None:
    """An attempt published and its pod died while it called the API: the next attempt publishes again."""
    bench.run(RUN_ID="petit-un")
    grow(bench, 50)
    bench.run(RUN_ID="petit-deux")
    assert bench.run(RUN_ID="petit-deux", failures=1).code == 0
    assert bench.database.rows(VERSION) == [("petit-deux", "petit-un", False, 50)]
    assert outcome(bench.run(mode="rollback")) == (Outcome.SUCCEEDED, Reason.ROLLED_BACK, "2/2")
    assert (count(bench), bench.database.rows(VERSION)) == (100, [("petit-un", "petit-deux", True, 100)])


def test_there_is_nothing_to_put_back_after_the_first_version(bench: Bench) -> None:
    """The run says so and changes nothing."""
    bench.run()
    ran = bench.run(mode="rollback")
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.PUBLISH_FAILED)
    assert "there is no earlier version of petit" in ran.messages
    assert count(bench) == 100


def test_what_another_refresh_has_published_since_is_not_put_back(bench: Bench) -> None:
    """Two refreshes with the same marts: the earlier version of one is no longer kept, and the message names the other."""
    bench.run()
    bench.run()
    bench.ref = RefreshRef(name="grand", namespace="essai")
    bench.run()
    bench.ref = REF
    ran = bench.run(mode="rollback")
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.PUBLISH_FAILED)
    assert "grand has published some of the same marts since" in ran.messages


def test_a_run_from_a_step_leaves_out_those_before(bench: Bench) -> None:
    """The facts stay as they were, the marts are built from them and published."""
    bench.run()
    grow(bench, 50)
    ran = bench.run(mode="from=marts")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert "2/6 facts Skipped: left out by the run's mode from=marts" in ran.messages
    assert (count(bench), count(bench, "dwh_facts.fait_lignes")) == (100, 100)
    assert bench.database.rows(VERSION)[0][0] == f"petit-{bench.runs}"


def test_a_run_of_one_step_does_only_that(bench: Bench, web: WebServer) -> None:
    """The API is called; dbt is not even read, and nothing is said of the marts."""
    bench.run()
    web.asked.clear()
    before = bench.database.rows(VERSION)
    ran = bench.run(mode="only=cache")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, None)
    assert (len(web.asked), bench.database.rows(VERSION)) == (2, before)


def test_what_is_unlike_other_runs_or_doubled_or_old_is_a_warning(bench: Bench) -> None:
    """Once there are three published runs to compare with; each mart says what is odd about it."""
    for _ in range(3):
        bench.run(bench.spec(validation={"marts": [{"relation": "dwh_marts.mart_a"}]}))
    grow(bench, 70)
    ran = bench.run(bench.spec(validation={"marts": [{"relation": "dwh_marts.mart_a", "maxRowChange": "20%", "unique": ["mois"]}]}))
    assert outcome(ran) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "0/1")
    assert "69 rows repeat the mois of another one, 70 rows are 30% fewer than the usual 100" in ran.messages
    assert bench.database.rows("select rows, duplicates from dbt_refresh_mart order by validated_at desc limit 1") == [(70, 69)]


def test_sources_that_were_not_loaded_in_time_warn_skip_or_fail_the_run(bench: Bench) -> None:
    """By what the project states for them, and before anything is built; fresh ones let the run go on."""
    bench.database.run("alter table src.lignes add column chargee timestamptz default now()")
    assert outcome(bench.run(bench.spec(sources={"onStale": "Fail"}))) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    bench.database.run("update src.lignes set chargee = now() - interval '40 hours'")
    ran = bench.run(bench.spec(sources={}))
    assert outcome(ran) == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS, "2/2")
    assert "1/7 sources Warned: src.lignes was last loaded 40h" in ran.messages

    before = bench.database.rows(VERSION)
    skipped = bench.run(bench.spec(sources={"onStale": "Skip"}))
    assert outcome(skipped)[:2] == (Outcome.SKIPPED, Reason.SOURCES_STALE)
    failed = bench.run(bench.spec(sources={"onStale": "Fail"}))
    assert outcome(failed)[:2] == (Outcome.FAILED, Reason.SOURCES_STALE)
    assert bench.database.rows(VERSION) == before
    assert len(bench.log_rows()) == 3

    bench.database.run("update src.lignes set chargee = null")
    ran = bench.run(bench.spec(sources={}))
    assert "src.lignes was never loaded: no row of it has a value in its loaded_at_field" in ran.messages


def cache(web: WebServer, **further: object) -> dict[str, object]:
    return {"baseUrl": web.url, "endpoints": ["/a", "/b"], "timeout": "2s", **further}


def test_each_endpoint_must_serve_what_is_live_where_the_api_says_what_it_serves(bench: Bench, web: WebServer) -> None:
    """It is asked until it does; one that serves older data, or says nothing, is a warning that names both versions."""
    spec = bench.spec(cache=cache(web, version={"header": "X-Data-Version"}))
    web.headers["X-Data-Version"] = f"petit-{bench.runs + 1}"
    assert outcome(bench.run(spec))[:2] == (Outcome.SUCCEEDED, Reason.SUCCEEDED)

    ran = bench.run(spec)
    assert outcome(ran)[:2] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert f"/a, /b: serves the data of petit-{bench.runs - 1}; petit-{bench.runs} is live" in ran.messages
    assert len(web.asked) > 6

    web.headers.clear()
    assert "does not say in the header X-Data-Version which data it serves" in bench.run(spec, mode="only=cache").messages
    web.body = json.dumps({"meta": {"version": f"petit-{bench.runs - 1}"}})
    spec = bench.spec(cache=cache(web, version={"field": "meta.version"}))
    assert outcome(bench.run(spec, mode="only=cache"))[0] is Outcome.SUCCEEDED


def test_endpoints_may_come_from_the_projects_exposures(bench: Bench, web: WebServer) -> None:
    """Each mart's own are called once, and a mart for which none is stated is a warning; dbt is asked also where nothing else needs it."""
    bench.run()
    web.asked.clear()
    spec = bench.spec(cache={"baseUrl": web.url, "endpoints": ["/a"], "fromExposures": True})
    ran = bench.run(spec, mode="only=cache")
    assert web.paths() == ["/a", "/exposed"]
    assert outcome(ran)[:2] == (Outcome.WARNED, Reason.SUCCEEDED_WITH_WARNINGS)
    assert "dwh_marts.mart_b: no exposure states an endpoint" in ran.messages


def test_the_api_may_ask_who_calls(bench: Bench, web: WebServer) -> None:
    """The header's value comes from a Secret and shows nowhere; without it, nobody is called."""
    spec = bench.spec(cache=cache(web, authorizationSecretRef={"name": "api", "key": "bearer"}))
    bench.secrets["api"] = {"bearer": "Bearer tres-secret-42"}
    ran = bench.run(spec)
    assert {asked.headers["Authorization"] for asked in web.asked} == {"Bearer tres-secret-42"}
    assert "tres-secret-42" not in ran.output

    web.asked.clear()
    bench.secrets["api"] = {"bearer": ""}
    ran = bench.run(spec, mode="only=cache")
    assert outcome(ran)[0] is Outcome.WARNED
    assert "not called: the Secret 'api' has no key 'bearer'" in ran.messages
    assert web.asked == []


def test_a_mart_that_others_of_the_run_read_must_be_published_with_them(bench: Bench) -> None:
    """Else a view would read what is not live, or what is gone; the message says what to do."""
    spec = bench.spec(
        layers=[{"name": "all", "select": ["stg_lignes", "fait_lignes", "fait_jours", "mart_a", "mart_b"]}],
        validation={"marts": [{"relation": "dwh_facts.fait_lignes"}]},
    )
    ran = bench.run(spec)
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.INVALID_PROJECT)
    assert "mart_a reads dwh_facts.fait_lignes" in ran.messages


def test_a_run_of_some_models_builds_and_publishes_only_those(bench: Bench, web: WebServer) -> None:
    """The other marts stay live as they were and say which run built them; all are tested and validated, and the API is called."""
    bench.run()
    first = f"petit-{bench.runs}"
    grow(bench, 50)
    web.asked.clear()
    ran = bench.run(mode="select=mart_a fait_lignes stg_lignes")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert (count(bench), count(bench, "dwh_marts.mart_b"), count(bench, "dwh_facts.fait_jours")) == (50, 100, 100)
    versions = "select marts -> 'dwh_marts.mart_a' ->> 'version', marts -> 'dwh_marts.mart_b' ->> 'version' from dbt_refresh_version"
    assert bench.database.rows(versions) == [(f"petit-{bench.runs}", first)]
    assert bench.log_rows()[-1][:3] == (True, 1, "Petit refresh - 2/2 marts validated (select=mart_a fait_lignes stg_lignes)")
    assert (len(web.asked), is_tidy(bench)) == (2, True)

    assert outcome(bench.run(mode="rollback"))[0] is Outcome.SUCCEEDED
    assert (count(bench), count(bench, "dwh_marts.mart_b")) == (100, 100)


def test_a_run_of_some_models_that_are_no_marts_publishes_nothing(bench: Bench) -> None:
    """Layers without any of them are left out and say so; what is live is the version before."""
    bench.run()
    before = bench.database.rows(VERSION)
    grow(bench, 50)
    ran = bench.run(mode="select=path:models/facts")
    assert outcome(ran) == (Outcome.SUCCEEDED, Reason.SUCCEEDED, "2/2")
    assert "1/6 staging Skipped: left out by the run's mode select=path:models/facts, which takes none of its models" in ran.messages
    assert (count(bench), count(bench, "dwh_facts.fait_lignes"), bench.database.rows(VERSION)) == (100, 50, before)
    assert bench.log_rows()[-1][1] == 0


def test_a_run_of_models_that_the_refresh_does_not_build_is_refused(bench: Bench) -> None:
    """Nothing is built for other refreshes."""
    ran = bench.run(mode="select=stg_autres")
    assert outcome(ran)[:2] == (Outcome.FAILED, Reason.INVALID_RUN_REQUEST)
    assert "select=stg_autres: takes no model that a layer of petit builds" in ran.messages


def test_variables_of_one_run_go_before_those_of_the_refresh(bench: Bench) -> None:
    """They reach dbt, the date from which ages are counted, and the run's row."""
    newest = {"column": "mois", "maxAgeDays": 7}
    spec = bench.spec(dbt={"vars": {"as_of": "2020-01-01"}}, validation={"marts": [{"relation": "dwh_marts.mart_a", "newest": newest}]})
    bench.database.run("alter table src.lignes alter column mois type date using date '2026-01-01'")
    assert outcome(bench.run(spec))[0] is Outcome.SUCCEEDED
    ran = bench.run(spec, VARS='{"as_of": "2026-03-01", "zone": 5}')
    assert "its newest mois is 2026-01-01, 59 days before 2026-03-01" in ran.messages
    assert bench.database.rows("select vars from dbt_refresh_run order by started_at") == [(None,), ({"as_of": "2026-03-01", "zone": 5},)]
