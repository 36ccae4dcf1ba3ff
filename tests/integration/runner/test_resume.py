"""A later attempt of a run repeats only what is missing, even after SIGKILL. Validation and publishing always follow."""

from __future__ import annotations

import pytest

from refresh_api.run_request import ExitCode
from support.eventually import eventually
from support.runner_harness import SLOWNESS, Json, RunnerHarness, RunResult

KEPT = "kept from an earlier attempt"


def asleep(runner: RunnerHarness, seconds: float) -> None:
    """Make one of the two facts sleep."""
    runner.database.run(f"truncate src.lignes; insert into src.lignes values (1, 1, 1, {seconds})")


def built(runner: RunnerHarness) -> dict[str, object]:
    """Return the existing tables and views with their oids."""
    query = """select c.relname, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where nspname in ('dwh_staging', 'dwh_facts', 'dwh_marts') and relkind in ('r', 'v')"""
    return {str(name): oid for name, oid in runner.database.rows(query)}


def steps(ran: RunResult) -> dict[str, str]:
    """Return the message of each step."""
    said = (line["message"].split(" ", 1)[1].split(" Succeeded: ", 1) for line in ran.lines if " Succeeded: " in line["message"])
    return dict(said)


def spec(runner: RunnerHarness, **changes: object) -> Json:
    """Return a refresh whose facts may take two seconds."""
    layers = runner.spec()["layers"]
    layers[1] |= {"timeout": f"{2 * SLOWNESS}s", "retries": 0}
    return runner.spec(**{"layers": layers, **changes})


@pytest.fixture
def half_done(runner: RunnerHarness) -> Json:
    """A run whose first attempt built all but one fact and the marts. The cause of its failure has been removed."""
    asleep(runner, 60)
    ours = spec(runner)
    first = runner.run(ours, RUN_ID="twice")
    assert first.code == ExitCode.RETRY, first.output
    assert set(built(runner)) == {"stg_lignes", "fait_jours"}
    runner.database.run("update src.lignes set nap = 0")
    return ours


def test_only_what_is_missing_is_built(runner: RunnerHarness, half_done: Json):
    """Existing tables are reused. Tests, validation and publishing follow."""
    before = built(runner)
    ran = runner.run(half_done, failures=1, RUN_ID="twice")
    assert ran.code == 0, ran.output
    after = built(runner)
    assert {name: after[name] for name in before} == before
    said = steps(ran)
    assert (said["staging"], said["facts"], said["marts"]) == (f"1 model {KEPT}", f"1 model built, 1 {KEPT}", "2 models built")
    assert said["validation"].startswith("2/2 marts valid")
    assert runner.database.rows("select attempt, outcome, marts from dbt_refresh_run where run_id = 'twice'") == [(2, "Succeeded", "2/2")]
    by = "select node, attempt from dbt_refresh_node where run_id = 'twice' and step in ('staging', 'facts') order by node"
    assert runner.database.rows(by) == [("fait_jours", 1), ("fait_lignes", 2), ("stg_lignes", 1)]


def test_a_killed_runners_work_is_kept(runner: RunnerHarness):
    """It had no time to report what it had done. The next attempt still knows."""
    asleep(runner, 60)
    process = runner.start_process(runner.spec(), RUN_ID="killed")
    try:
        done = "select 1 from dbt_refresh_node where run_id = 'killed' and node = 'fait_jours' and state = 'ok'"
        exists = "select 1 where to_regclass('dbt_refresh_node') is not null"
        eventually(
            lambda: bool(runner.running_queries("pg_sleep")) and runner.database.rows(exists) and runner.database.rows(done),
            within=30 * SLOWNESS,
        )
    finally:
        process.kill()
        process.communicate()
    before = built(runner)
    runner.database.run("update src.lignes set nap = 0")
    ran = runner.run(RUN_ID="killed")
    assert ran.code == 0, ran.output
    assert steps(ran)["facts"] == f"1 model built, 1 {KEPT}", ran.output
    assert built(runner)["fait_jours"] == before["fait_jours"]


@pytest.mark.slow
def test_nothing_is_kept_of_another_order(runner: RunnerHarness, half_done: Json):
    """Any difference in the run request counts."""
    ran = runner.run({**half_done, "dbt": {"vars": {"autre": 1}}}, failures=1, RUN_ID="twice")
    assert ran.code == 0, ran.output
    assert KEPT not in ran.output
    assert "rebuilding all models: the run request, the project or the runner has changed" in ran.messages


def test_nothing_is_kept_when_another_run_was_there_in_between(runner: RunnerHarness, half_done: Json):
    """The other run may have built the same models from other data."""
    assert runner.run(runner.spec(tests=None, validation=None, cache=None)).code == 0
    ran = runner.run(half_done, failures=1, RUN_ID="twice")
    assert ran.code == 0, ran.output
    assert KEPT not in ran.output
    assert "rebuilding all models: another run has held the warehouse" in ran.messages


def test_what_is_no_longer_there_is_built_with_all_after_it(runner: RunnerHarness, half_done: Json):
    """Somebody has dropped a table between two attempts."""
    runner.database.run("drop table dwh_facts.fait_jours")
    ran = runner.run(half_done, failures=1, RUN_ID="twice")
    assert ran.code == 0, ran.output
    assert (steps(ran)["staging"], steps(ran)["facts"]) == (f"1 model {KEPT}", "2 models built")
