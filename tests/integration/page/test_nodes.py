"""The page of a node, on a real run log."""

import gzip
import json
from urllib.parse import quote

import psycopg
import pytest

from refresh_page.kube.models import Ref
from refresh_page.runlog import node_models
from refresh_page.runlog.repository import RunLogRepository
from support.eventually import eventually
from support.run_log import create_run_log_tables

PHASE2 = "/refreshes/pages/phase2"
FACT = "model.sigeti.fait_implantations"
NODE = f"{PHASE2}/nodes/{FACT}"
GOOD = "phase2-29799820"
"""The last run that succeeded."""
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
    assert [each["name"] for each in found["readBy"]] == ["mart_implantation_suivi", "mart_indemnisations"]
    html = page.get(NODE, accept="text/html")
    assert html.status_code == 200
    assert html.text.count("<title>phase2-") == 32


def test_the_sql_of_a_run_is_what_the_runner_has_stored(page, results):  # noqa: ARG001
    """Redacted, as in the artifact. A run whose results lack the node has none."""
    eventually(lambda: page.json(NODE)["compiled"]["sql"], within=15)
    assert page.json(NODE)["compiled"] == {"run": GOOD, "sql": "select '***' as mot_de_passe", "isCut": False}
    assert page.json(f"{NODE}?run=phase2-29799640")["compiled"] == {"run": "phase2-29799640", "sql": None, "isCut": False}
    assert "mot_de_passe" in page.get(f"{NODE}?run={GOOD}", accept="text/html").text
    assert page.json(f"{NODE}.json?run={GOOD}")["compiled"]["sql"]


def test_the_pages_of_a_run_lead_to_its_nodes(page):
    """From the steps, from the table of the graph, and from what failed."""
    html = page.get(f"{PHASE2}/runs/{GOOD}", accept="text/html").text
    assert html.count(f'href="{PHASE2}/nodes/{FACT}"') == 2
    failed = page.get(f"{PHASE2}/runs/phase2-29800000", accept="text/html").text
    assert f'<h3><a href="{PHASE2}/nodes/model.sigeti.stg_indemnisations">' in failed
    assert page.json(f"{PHASE2}/nodes/model.sigeti.stg_indemnisations")["runs"][0]["sqlstate"] == "42703"


@pytest.mark.parametrize(
    "path", [f"{PHASE2}/nodes/model.sigeti.none", f"{PHASE2}/nodes/", f"/refreshes/pages/other/nodes/{FACT}", f"{PHASE2}/nodes/{quote('é/<')}"]
)
def test_a_node_that_the_refresh_has_not_run_is_not_found(page, path):
    """Also one of another refresh, which a proxy may protect differently."""
    assert page.get(path).status_code == 404


async def test_an_older_run_log_has_no_parents(ground):
    """The columns of a newer runner are missing until its first run."""
    records, ref = RunLogRepository(ground.secret), Ref("pages", "phase2")
    new = await records.node_rows(ref, FACT)
    assert new
    ground.database.run("alter table dbt_refresh_node rename column parents to other")
    try:
        old = await records.node_rows(ref, FACT)
    finally:
        ground.database.run("alter table dbt_refresh_node rename column other to parents")
    assert old
    assert [each.run for each in old.runs] == [each.run for each in new.runs]
    assert (old.runs[0].parents, old.neighbours) == (None, ())


def plan_of(connection, query, parameters):
    """Return the nodes of the plan with which PostgreSQL has executed a query."""
    ((found,),) = connection.execute(f"explain (analyze, buffers, format json) {query}", parameters).fetchall()
    nodes, todo = [], [found[0]["Plan"]]
    while todo:
        each = todo.pop()
        nodes.append(each)
        todo += each.get("Plans", [])
    return nodes


def whole_scans(nodes):
    """Return the tables of nodes that a plan reads from the first row to the last."""
    return [each["Relation Name"] for each in nodes if each["Node Type"] == "Seq Scan" and each["Relation Name"] == "dbt_refresh_node"]


def test_the_history_of_a_node_reads_few_pages_of_a_large_run_log(fresh_database):
    """It is found by the primary key, run by run: no further index makes each run's writes dearer. The control is a search by node alone."""
    with psycopg.connect(fresh_database.dsn, autocommit=True) as connection:
        create_run_log_tables(connection)
        fill_many(connection, MANY_RUNS, MANY_NODES)
        known = {"namespace": "many", "refresh": "many", "node": "model.p.m7", "run": f"many-{MANY_RUNS}", "parents": ["model.p.m6"]}
        history = plan_of(connection, node_models.NODE_RUNS, known)
        assert history[0]["Actual Rows"] == node_models.NODE_RUNS_SHOWN
        assert whole_scans(history) == whole_scans(plan_of(connection, node_models.NEIGHBOURS, known)) == []
        assert history[0]["Shared Hit Blocks"] + history[0]["Shared Read Blocks"] < 4 * node_models.RUNS_SEARCHED
        assert whole_scans(plan_of(connection, "select * from dbt_refresh_node where node_id = %(node)s", known))


def fill_many(connection, runs, nodes):
    """Write runs with as many nodes each; foreign keys are not checked, which would take most of the time."""
    connection.execute("set session_replication_role = replica")
    connection.execute(
        """insert into dbt_refresh_run (run_id, refresh, namespace, generation, mode, attempt, attempts, phase, outcome, started_at,
               attempt_started_at, heartbeat_at, ended_at, kept_since)
           select 'many-' || run, 'many', 'many', 1, 'refresh', 1, 1, 'Finished', 'Succeeded', at, at, at, at, at
           from generate_series(1, %s) run, lateral (select now() - make_interval(hours => 100000 - run) at)""",
        [runs],
    )
    connection.execute(
        """insert into dbt_refresh_node (run_id, node_id, node, step, attempt, state, seconds, ended_at, parents)
           select 'many-' || run, 'model.p.m' || node, 'm' || node, 'marts', 1, 'ok', 1.5, now(), jsonb_build_array('model.p.m' || node - 1)
           from generate_series(1, %s) run, generate_series(1, %s) node""",
        [runs, nodes],
    )
    connection.execute("analyze")
