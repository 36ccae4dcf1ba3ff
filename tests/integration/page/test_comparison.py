"""The comparison of two runs, on a real run log."""

import json

import psycopg
import pytest

from refresh_page.kube.models import Ref
from refresh_page.runlog.repository import RunLogRepository

PHASE2 = "/refreshes/pages/phase2"
FAILED, GOOD, EARLIER = "phase2-29800000", "phase2-29799820", "phase2-29799640"
COMPARE = f"{PHASE2}/compare"


@pytest.fixture
def changed(ground):
    """A later run that has another spec, project and variables, one slower model, and one that is new."""
    other = "generation = 2, revision = 'main@sha1:aa', project = 'p-2', vars = '{\"key\": \"tres-secret\"}'"
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        connection.execute(f"update dbt_refresh_run set {other} where run_id = %s", [GOOD])
        connection.execute("update dbt_refresh_node set seconds = seconds + 60 where run_id = %s and node = 'mart_creances_agees'", [GOOD])
        connection.execute("update dbt_refresh_node set node_id = 'model.sigeti.new' where run_id = %s and node = 'fait_factures'", [GOOD])
        yield
        connection.execute("update dbt_refresh_node set node_id = 'model.sigeti.fait_factures' where node_id = 'model.sigeti.new'")
        connection.execute("update dbt_refresh_node set seconds = seconds - 60 where run_id = %s and node = 'mart_creances_agees'", [GOOD])
        same = "generation = 1, revision = null, project = null, vars = null"
        connection.execute(f"update dbt_refresh_run set {same} where run_id = %s", [GOOD])


def test_two_runs_are_compared(page, changed):  # noqa: ARG001
    """Nodes, marts, project and settings. The control is the comparison of two runs of the same project."""
    found = page.json(f"{COMPARE}?before={EARLIER}&after={GOOD}")
    assert (found["before"]["run"], found["after"]["run"]) == (EARLIER, GOOD)
    assert {each["setting"] for each in found["settings"]} == {"generation", "revision", "project"}
    assert found["variables"] == ["key"]
    assert "tres-secret" not in json.dumps(found) + page.get(f"{COMPARE}?before={EARLIER}&after={GOOD}", accept="text/html").text
    assert [each["node"] for each in found["slower"]["nodes"]] == ["mart_creances_agees"]
    assert [each["id"] for each in found["added"]["nodes"]] == ["model.sigeti.new"]
    assert [each["id"] for each in found["removed"]["nodes"]] == ["model.sigeti.fait_factures"]
    assert len(found["marts"]) == 4
    assert all(each["rowsBefore"] and each["rowsAfter"] for each in found["marts"])
    alike = page.json(f"{COMPARE}?before=phase2-29000000&after=phase2-29000180")
    assert (alike["settings"], alike["added"]["count"], alike["removed"]["count"]) == ([], 0, 0)


def test_by_default_the_last_run_is_compared_with_the_one_before_it(page):
    """The page of a run links the same, except that of the first one."""
    found = page.json(COMPARE)
    assert (found["before"]["run"], found["after"]["run"]) == (GOOD, FAILED)
    assert found["removed"]["count"] > 0
    assert [each["node"] for each in found["changed"]["nodes"]][:1] == ["stg_indemnisations"]
    assert page.json(f"{PHASE2}/compare.json?after={GOOD}")["before"]["run"] == EARLIER
    assert page.json(f"{PHASE2}/runs/{FAILED}")["previous"] == GOOD
    html = page.get(f"{PHASE2}/runs/{FAILED}", accept="text/html").text
    assert f'<a href="{COMPARE}?before={GOOD}&amp;after={FAILED}">Compare with the previous run</a>' in html
    first = page.json(f"{PHASE2}/runs/phase2-29000000")
    assert (first["run"]["outcome"], first["previous"]) == ("Succeeded", None)
    assert "Compare with the previous run" not in page.get(f"{PHASE2}/runs/phase2-29000000", accept="text/html").text


@pytest.mark.parametrize(
    "path",
    [
        f"{COMPARE}?before={GOOD}&after=none",
        f"{COMPARE}?before=none&after={GOOD}",
        f"{COMPARE}?after=phase2-29000000",
        f"/refreshes/pages/other/compare?before={EARLIER}&after={GOOD}",
    ],
)
def test_a_run_of_another_refresh_is_not_found(page, path):
    """A proxy may protect it differently. Nor is the run before the first one."""
    assert page.get(path).status_code == 404


async def test_an_older_run_log_can_be_compared(ground):
    """Columns of a newer runner are missing until its first run."""
    records, ref = RunLogRepository(ground.secret), Ref("pages", "phase2")
    columns = ("revision", "project", "vars")
    for column in columns:
        ground.database.run(f"alter table dbt_refresh_run rename column {column} to other_{column}")
    try:
        found = await records.comparison_rows(ref, "", "")
    finally:
        for column in columns:
            ground.database.run(f"alter table dbt_refresh_run rename column other_{column} to {column}")
    assert found
    assert (found.before.run, found.after.run, found.after.variables, len(found.nodes) > 5) == (GOOD, FAILED, None, True)
