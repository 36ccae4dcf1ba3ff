"""The tests of a refresh over its last runs, on a real run log."""

import psycopg
import pytest

from refresh_page.runlog import comparison_models, verdict_models
from support.eventually import eventually
from support.run_log import create_run_log_tables

from .test_nodes import MANY_NODES, MANY_RUNS, blocks, fill_many

PHASE2 = "/refreshes/pages/phase2"
TESTS = f"{PHASE2}/tests"
TEST, GOOD = "test.sigeti.not_null_fait_factures_zone_id", "test.sigeti.unique_mart_implantation_suivi"


@pytest.fixture
def failing(ground):
    """A test that failed in two of the runs, the last one that executed it among them."""
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        change = "update dbt_refresh_node set state = %s where node_id = %s and run_id = any(%s)"
        runs = ["phase2-29799820", "phase2-29005220"]
        connection.execute(change, ["failed", TEST, runs])
        yield
        connection.execute(change, ["ok", TEST, runs])


def test_each_test_has_its_results_over_the_last_runs(page, failing):  # noqa: ARG001
    """The last run failed before its tests, so it is a gap. The control is a test that passes."""

    def tests(path=TESTS):
        return {each["id"]: each for each in page.json(path)["tests"]}

    eventually(lambda: tests()[TEST]["lastState"] == "failed", within=15)
    found = tests()
    assert list(found).index(TEST) < list(found).index(GOOD)
    assert (found[TEST]["failed"], found[TEST]["states"][-2:], found[TEST]["lastBadRun"]) == (2, ["failed", None], "phase2-29799820")
    assert (found[GOOD]["failed"], found[GOOD]["lastState"], len(found[GOOD]["states"])) == (0, "ok", 30)
    assert page.json(TESTS)["failing"] >= 1
    html = page.get(TESTS, accept="text/html").text
    assert f'href="{PHASE2}/nodes/{TEST}"' in html
    assert "2 failed, 0 warned, 1 not executed, of 30 runs" in html
    assert list(tests(f"{TESTS}?q=factures")) == [TEST]
    assert page.get(f"{TESTS}.json").json()["total"] == len(found)


def test_a_refresh_without_runs_has_no_tests(page):
    """One that does not exist is not found."""
    assert page.get("/refreshes/pages/none/tests").status_code == 404


def test_comparisons_and_tests_read_few_blocks_of_a_large_run_log(fresh_database):
    """Both read the nodes of their runs alone, by the primary key. The control is a count of all."""
    with psycopg.connect(fresh_database.dsn, autocommit=True) as connection:
        create_run_log_tables(connection)
        fill_many(connection, MANY_RUNS, MANY_NODES)
        known = {"namespace": "many", "refresh": "many", "run": f"many-{MANY_RUNS}", "runs": [f"many-{each}" for each in range(970, 1000)]}
        known |= {"before": "many-998", "after": "many-999"}
        queries = (comparison_models.NODE_PAIRS, comparison_models.PREVIOUS_RUN, verdict_models.TESTS)
        found = [blocks(connection, query, known) for query in queries]
        assert max(found) < 500
        assert blocks(connection, "select count(*) from dbt_refresh_node", known) > 1000
