"""The page of a node, on a real run log."""

import gzip
import json
from urllib.parse import quote

import psycopg
import pytest

from refresh_page.kube.models import Ref
from refresh_page.runlog import history, node_models
from refresh_page.runlog.history import RunLogReader
from refresh_page.runlog.models import RunLogState
from refresh_page.runlog.repository import RunLogRepository
from support.eventually import eventually
from support.run_log import create_run_log_tables

from .conftest import READER

PHASE2 = "/refreshes/pages/phase2"
FACT = "model.sigeti.fait_implantations"
MART = "model.sigeti.mart_indemnisations"
NODE = f"{PHASE2}/nodes/{FACT}"
BROKEN = "model.sigeti.stg_indemnisations"
FAILED, GOOD = "phase2-29800000", "phase2-29799820"
"""The last run, and the last one that succeeded."""
MANY_RUNS, MANY_NODES = 1000, 200
"""As many as make a plan without the index much dearer."""


@pytest.fixture(scope="module")
def results(ground):
    """The results of the last good run, with SQL."""
    found = {"results": [{"unique_id": FACT, "compiled_code": "select '***' as mot_de_passe", "status": "success"}]}
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        values = [gzip.compress(json.dumps(found).encode()), GOOD]
        done = connection.execute("update dbt_refresh_artifact set content = %s where name = 'run_results.json' and run_id = %s", values)
        assert done.rowcount == 1


def test_a_node_has_its_runs_and_what_it_reads(page):
    """The last run failed before the node, so it is not among them. What reads it comes from the same run as its result."""
    found = page.json(NODE)
    assert (found["node"], found["kind"], len(found["runs"])) == ("fait_implantations", "model", 32)
    assert found["runs"][0]["run"] == GOOD
    assert {each["state"] for each in found["runs"]} == {"ok"}
    assert [(each["id"], each["state"]) for each in found["reads"]] == [
        ("model.sigeti.stg_implantations", "ok"),
        ("seed.sigeti.zones", None),
    ]
    assert [each["name"] for each in found["readers"]] == ["mart_implantation_suivi", "mart_indemnisations"]
    html = page.get(NODE, accept="text/html")
    assert html.status_code == 200
    assert html.text.count("<title>phase2-") == 32


def test_the_sql_of_a_run_is_what_the_runner_has_stored(page, results):  # noqa: ARG001
    """Redacted, as in the artifact. A run whose results lack the node has none."""
    eventually(lambda: "***" in page.json(NODE)["compiled"]["sql"], within=15)
    assert page.json(NODE)["compiled"] == {"run": GOOD, "sql": "select '***' as mot_de_passe", "isCut": False, "logState": "Available"}
    assert page.json(f"{NODE}?run={FAILED}")["compiled"] == {"run": FAILED, "sql": None, "isCut": False, "logState": "Available"}
    assert "mot_de_passe" in page.get(f"{NODE}?run={GOOD}", accept="text/html").text
    assert page.json(f"{NODE}.json?run={GOOD}")["compiled"]["sql"]


async def test_a_queue_for_the_sql_is_not_taken_for_a_warehouse_that_does_not_respond(ground, monkeypatch):
    """Else somebody who asks for many statements would hide the run log from everybody. Nor is it said that there is no SQL."""
    reader, ref = RunLogReader(RunLogRepository(ground.secret)), Ref("pages", "phase2")
    monkeypatch.setattr(history, "_RESULTS_TIMEOUT", 0.1)
    async with reader._reading_results:
        found = await reader.compiled_sql(ref, GOOD, FACT)
    assert (found.value, found.state) == (None, RunLogState.UNAVAILABLE)
    assert (await reader.refresh_rows(ref)).state is RunLogState.AVAILABLE
    assert (await reader.compiled_sql(ref, GOOD, FACT)).value


def test_the_pages_of_a_run_lead_to_its_nodes(page):
    """From the steps, from the table of the graph, and from what failed."""
    html = page.get(f"{PHASE2}/runs/{GOOD}", accept="text/html").text
    assert html.count(f'href="{PHASE2}/nodes/{FACT}"') == 2
    failed = page.get(f"{PHASE2}/runs/{FAILED}", accept="text/html").text
    assert f'<h3><a href="{PHASE2}/nodes/model.sigeti.stg_indemnisations">' in failed
    assert page.json(f"{PHASE2}/nodes/model.sigeti.stg_indemnisations")["runs"][0]["sqlstate"] == "42703"


@pytest.mark.parametrize(
    "path",
    [f"{PHASE2}/nodes/model.sigeti.none", f"{PHASE2}/nodes/", f"/refreshes/pages/other/nodes/{FACT}", f"{PHASE2}/nodes/{quote('é/<')}"],
)
def test_a_node_that_the_refresh_has_not_run_is_not_found(page, path):
    """Also one of another refresh, which a proxy may protect differently."""
    assert page.get(path).status_code == 404


PROJECT = {
    "nodes": [
        {
            "unique_id": FACT,
            "name": "fait_implantations",
            "description": "Plots.",
            "relation": "dwh_facts.fait",
            "reads": ["seed.sigeti.zones"],
        },
        {"unique_id": MART, "name": "mart_indemnisations", "relation": "dwh_marts_operationnel.mart_indemnisations", "reads": [FACT]},
        {"unique_id": "test.sigeti.unique_mart_implantation_suivi", "name": "unique", "reads": [FACT]},
    ],
    "exposures": [{"unique_id": "exposure.p.a", "name": "Board", "type": "dashboard", "owner": "Awa", "reads": [MART]}],
}


@pytest.fixture
def described(ground):
    """A run log whose runs have the description of their project, which the role of the page may read."""
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        connection.execute("insert into dbt_refresh_project values ('p-1', %s, now())", [gzip.compress(json.dumps(PROJECT).encode())])
        connection.execute("update dbt_refresh_run set project = 'p-1' where run_id = %s", [GOOD])
        yield connection
        connection.execute("delete from dbt_refresh_project")
        connection.execute("update dbt_refresh_run set project = null where run_id = %s", [GOOD])


def test_the_description_of_the_project_adds_documentation_tests_and_exposures(page, described):  # noqa: ARG001
    """A mart also has the rows and verdicts of its validation."""
    found = eventually(lambda: (each := page.json(NODE))["isDescribed"] and each, within=15)
    assert (found["description"], [each["name"] for each in found["reads"]]) == ("Plots.", ["zones"])
    assert [(each["name"], each["state"]) for each in found["tests"]] == [("unique_mart_implantation_suivi", "ok")]
    assert [(each["name"], each["owner"]) for each in found["affected"]] == [("Board", "Awa")]
    assert "owner: Awa" in page.get(NODE, accept="text/html").text
    runs = page.json(f"{PHASE2}/nodes/{MART}")["runs"]
    assert {each["verdict"] for each in runs} == {"VALID"}
    assert all(each["rows"] > 2000 for each in runs)


@pytest.fixture
def failed_project(described):
    """The description belongs to the run that failed, too."""
    described.execute("update dbt_refresh_run set project = 'p-1' where run_id = %s", [FAILED])
    (old,) = described.execute("select content from dbt_refresh_project").fetchone()
    broken = {"unique_id": BROKEN, "name": "stg_indemnisations", "reads": []}
    nodes = [broken, {**PROJECT["nodes"][1], "reads": [FACT, BROKEN]}]
    described.execute("update dbt_refresh_project set content = %s", [gzip.compress(json.dumps({**PROJECT, "nodes": nodes}).encode())])
    yield
    described.execute("update dbt_refresh_project set content = %s", [old])
    described.execute("update dbt_refresh_run set project = null where run_id = %s", [FAILED])


def test_a_failed_run_and_a_stale_refresh_say_who_is_affected(ground, failed_project):  # noqa: ARG001
    """In a page of its own, since descriptions are cached. The control is a run that succeeded."""
    with ground.running(WAREHOUSE_PATH=str(ground.secret)) as page:
        expected = [("Board", "Awa", ["stg_indemnisations"])]
        for path in (f"{PHASE2}/runs/{FAILED}", PHASE2):
            assert [(each["name"], each["owner"], each["causes"]) for each in page.json(path)["affected"]] == expected
            html = page.get(path, accept="text/html").text
            assert "owner: Awa" in html
            assert "depends on stg_indemnisations" in html
        assert page.json(f"{PHASE2}/runs/{GOOD}")["affected"] == []


async def test_without_the_privilege_to_read_descriptions_the_rest_is_shown(ground, described):
    """The table is younger than the role of the page. The control is the role with the privilege."""
    records = RunLogRepository(ground.secret)
    assert await records.project("p-1")
    described.execute(f"revoke select on dbt_refresh_project from {READER}")
    try:
        assert await records.project("p-1") is None
        assert await records.node_runs(Ref("pages", "phase2"), FACT)
    finally:
        described.execute(f"grant select on dbt_refresh_project to {READER}")


async def test_an_older_run_log_is_shown_with_what_it_has(ground):
    """The columns and the table of a newer runner are missing until its first run."""
    records, ref = RunLogRepository(ground.secret), Ref("pages", "phase2")
    new = await records.node_runs(ref, FACT)
    younger = {"dbt_refresh_node": ("parents", "rows"), "dbt_refresh_run": ("project", "revision")}
    columns = [(table, column) for table, found in younger.items() for column in found]
    for table, column in columns:
        ground.database.run(f"alter table {table} rename column {column} to other_{column}")
    ground.database.run("alter table dbt_refresh_project rename to other_project")
    try:
        old = await records.node_runs(ref, FACT)
        assert (await records.node_rows(FACT, [GOOD], [], "dwh_marts.a")).neighbours == ()
        assert await records.project("p-1") is None
    finally:
        ground.database.run("alter table other_project rename to dbt_refresh_project")
        for table, column in columns:
            ground.database.run(f"alter table {table} rename column other_{column} to {column}")
    assert [each.run for each in old] == [each.run for each in new]
    assert ({each.parents for each in old}, new[0].parents) == ({None}, ["model.sigeti.stg_implantations", "seed.sigeti.zones"])


def blocks(connection, query, parameters):
    """Return how many blocks PostgreSQL reads to execute a query, of tables and indexes."""
    ((found,),) = connection.execute(f"explain (analyze, buffers, format json) {query}", parameters).fetchall()
    return found[0]["Plan"]["Shared Hit Blocks"] + found[0]["Plan"]["Shared Read Blocks"]


def test_the_history_of_a_node_reads_few_blocks_of_a_large_run_log(fresh_database):
    """It is found by the primary key, run by run, without a further index to write. The control is a search by node alone."""
    with psycopg.connect(fresh_database.dsn, autocommit=True) as connection:
        create_run_log_tables(connection)
        fill_many(connection, MANY_RUNS, MANY_NODES)
        known = {"namespace": "many", "refresh": "many", "node": "model.p.m7", "run": f"many-{MANY_RUNS}", "ids": ["model.p.m6"]}
        assert len(connection.execute(node_models.NODE_RUNS, known).fetchall()) == node_models.NODE_RUNS_SHOWN
        found = [blocks(connection, query, known) for query in (node_models.NODE_RUNS, node_models.NEIGHBOURS)]
        assert max(found) < 500
        assert blocks(connection, "select * from dbt_refresh_node where node_id = %(node)s", known) > 1000


def fill_many(connection, runs, nodes):
    """Write runs with as many nodes each; foreign keys are not checked, which would take most of the time."""
    connection.execute("set session_replication_role = replica")
    connection.execute(
        """insert into dbt_refresh_run (run_id, refresh, namespace, generation, mode, attempt, attempts, phase, outcome, started_at,
               attempt_started_at, heartbeat_at, ended_at, kept_since)
           select 'many-' || run, 'many', 'many', 1, 'refresh', 1, 1, 'Finished', 'Succeeded', at, at, at, at, at
           from generate_series(1, %s) run, lateral (select now() - make_interval(hours => 100000 - run) as at) times""",
        [runs],
    )
    connection.execute(
        """insert into dbt_refresh_node (run_id, node_id, node, step, attempt, state, seconds, ended_at, parents)
           select 'many-' || run, 'model.p.m' || node, 'm' || node, 'marts', 1, 'ok', 1.5, now(), jsonb_build_array('model.p.m' || node - 1)
           from generate_series(1, %s) run, generate_series(1, %s) node""",
        [runs, nodes],
    )
    connection.execute("analyze")
