"""The page as a process, on a real API server with its own permissions, and on a real run log."""

import gzip
import json
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from refresh_page.kube.models import Ref
from refresh_page.runlog.repository import RunLogRepository, RunLogUnavailableError
from support.eventually import eventually
from support.page import mount_secret, write_refresh
from support.page_refreshes import build_history, build_history_entry, build_refresh, build_run_status, kube_time
from support.previews import PREVIEWS, preview_body
from support.proxy import Proxy

PHASE2 = "/refreshes/pages/phase2"
LAST = f"{PHASE2}/runs/phase2-29800000"


def line(page, name):
    """Return a refresh of the overview; None if it is not listed."""
    return next((each for each in page.json("/")["refreshes"] if each["name"] == name), None)


def test_changes_in_the_cluster_appear_within_seconds(ground, page):
    """The page watches the API server itself, so a refresh that is created, runs, ends and is deleted needs no operator to appear."""
    write_refresh(ground.api, build_refresh("live", ground.now, namespace="pages"))
    eventually(lambda: line(page, "live"), within=10)
    active = [{"id": "live-1", "trigger": "Requested", "startTime": kube_time(ground.now)}]
    write_refresh(
        ground.api, build_refresh("live", ground.now, namespace="pages", active=active, run=build_run_status("live-1", ground.now, 2))
    )
    eventually(lambda: (line(page, "live")["running"] or {}).get("step") == "3/6 marts", within=10)
    write_refresh(
        ground.api,
        build_refresh(
            "live",
            ground.now,
            [build_history_entry("live-1", ground.now)],
            namespace="pages",
            run=build_run_status("live-1", ground.now, 6),
        ),
    )
    eventually(lambda: line(page, "live")["health"]["data"] == "Fresh", within=10)
    ground.api.delete("pages", "dashboardrefreshes", "live")
    eventually(lambda: line(page, "live") is None, within=10)


def test_the_calendar_has_the_schedules_and_locks_of_the_api_server(ground, page):
    """Defaults of the spec come from the API server, and the calendar follows a change of a schedule."""

    def write(name: str, schedule: str) -> None:
        runs = [build_history_entry(f"{name}-1", ground.now, seconds=120)]
        spec = {"schedule": schedule, "warehouse": {"secretRef": {"name": "calendar"}}}
        write_refresh(ground.api, build_refresh(name, ground.now, runs, "pages", spec=spec))

    def overlaps() -> dict[str, set[str | None]]:
        # without the first runs: a run that is due within a minute may have nothing left to overlap
        found = [each for each in page.json("/calendar.json")["warehouses"] if each["secret"] == "calendar"]
        return {row["name"]: {run["overlap"] for run in row["runs"][1:]} for each in found for row in each["rows"]}

    write("coming-a", "15 * * * *")
    write("coming-b", "16 * * * *")
    eventually(lambda: overlaps() == {"coming-a": {None}, "coming-b": {"Waits"}}, within=10)
    ground.api.patch("pages", "dashboardrefreshes", "coming-b", {"spec": {"schedule": "18 */2 * * *"}})
    eventually(lambda: overlaps() == {"coming-a": {None}, "coming-b": {None}}, within=10)
    for name in ("coming-a", "coming-b"):
        ground.api.delete("pages", "dashboardrefreshes", name)


def test_refreshes_are_grouped_by_what_the_api_server_has(ground, page):
    """Projects and labels come from the watch: a refresh moves to another group as soon as its label or its repository changes."""
    moving = build_refresh("moving", ground.now, namespace="pages")
    write_refresh(ground.api, moving)

    def group(by: str) -> str | None:
        return next((each["group"] for each in page.json(f"/?q=moving&group={by}")["refreshes"]), None)

    eventually(lambda: (group("project"), group("label:team"), group("namespace")) == ("", "", "pages"), within=10)
    project = {"git": {"url": "https://git.example.org/velos.git", "path": "dbt"}}
    wanted = {"metadata": {"labels": {"team": "mobility"}}, "spec": {"project": project}}
    ground.api.patch("pages", "dashboardrefreshes", "moving", wanted)
    eventually(lambda: (group("project"), group("label:team")) == ("https://git.example.org/velos.git dbt", "mobility"), within=10)
    assert [each["name"] for each in page.json("/?q=git.example.org/velos")["refreshes"]] == ["moving"]
    assert "moving" not in [each["name"] for each in page.json("/?state=stale")["refreshes"]]
    assert page.get("/?state=late", accept="text/html").status_code == 400
    ground.api.delete("pages", "dashboardrefreshes", "moving")
    eventually(lambda: group("namespace") is None, within=10)


def test_an_open_page_is_notified_of_a_change(ground, page):
    """The first event has the version of the page that was delivered, so that a change in between is not missed."""
    write_refresh(ground.api, build_refresh("changing", ground.now, build_history("changing", ground.now, "S"), namespace="pages"))
    eventually(lambda: line(page, "changing"), within=10)
    accept = {"Accept": "text/event-stream"}
    with httpx.stream("GET", page.url + "/refreshes/pages/changing", headers=accept, trust_env=False, timeout=20) as answer:
        versions = (text.removeprefix("data: ") for text in answer.iter_lines() if text.startswith("data: "))
        first = next(versions)
        assert f'data-version="{first}"' in page.get("/refreshes/pages/changing").text
        changed = build_refresh("changing", ground.now, build_history("changing", ground.now, "FS"), namespace="pages")
        write_refresh(ground.api, changed)
        assert next(versions) != first
    ground.api.delete("pages", "dashboardrefreshes", "changing")


def test_the_run_log_adds_history(page):
    """The status keeps ten runs only, and neither durations nor row counts over time."""
    found = page.json(PHASE2)
    assert (found["logState"], len(found["runs"])) == ("Available", 33)
    assert [series["step"] for series in found["steps"]] == ["staging", "facts", "marts", "tests", "validation", "cache"]
    assert found["steps"][0]["median"] == pytest.approx(7.5, abs=1.5)
    assert len(found["martSeries"]) == 4
    assert all(len(series["points"]) > 20 for series in found["martSeries"])
    assert page.get(PHASE2, accept="text/html").status_code == 200


def test_a_run_shows_failures_log_and_artifacts(page):
    """After a failure, this is all that is left once the pod is gone. Artifacts are sandboxed."""
    found = page.json(LAST)
    assert [(node["node"], node["sqlstate"]) for node in found["failures"]] == [("stg_indemnisations", "42703")]
    assert "montant_du" in found["logTail"][0]
    assert {each["name"] for each in found["artifacts"]} == {"run.log", "run_results.json"}
    html = page.get(LAST, accept="text/html").text
    assert "LINE 24" in html
    artifact = page.get(f"{LAST}/artifacts/run_results.json")
    assert (artifact.json()["elapsed_time"], artifact.headers["content-type"]) == (41.2, "application/json")
    assert "sandbox" in artifact.headers["content-security-policy"]
    assert page.get(f"{LAST}/artifacts/none").status_code == 404


def test_the_projects_documentation_runs_in_a_sandbox(ground, page):
    """dbt's documentation is HTML with scripts; in the page's origin they could read the page."""
    html = "<!doctype html><script>document.title = 'docs'</script>"
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        packed = gzip.compress(html.encode())
        connection.execute("insert into dbt_refresh_docs values ('project-1', 'text/html', %s, now())", [packed])
        connection.execute("update dbt_refresh_run set project = 'project-1' where run_id = 'phase2-29799820'")
    run = f"{PHASE2}/runs/phase2-29799820"
    eventually(lambda: "docs.html" in {each["name"] for each in page.json(run)["artifacts"]}, within=15)
    answer = page.get(f"{run}/artifacts/docs.html")
    policy = answer.headers["content-security-policy"]
    assert (answer.text, answer.headers["content-type"]) == (html, "text/html; charset=utf-8")
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy


def test_a_failed_test_shows_the_rows_that_failed_it(ground, page):
    """The rows are data of users, so their values must be escaped."""
    found = {"unique_mart": [{"zone_id": None, "nom": "<script>document.title = 'rows'</script>"}]}
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        connection.execute(
            "insert into dbt_refresh_node (run_id, node_id, node, step, attempt, state, ended_at) "
            "values ('phase2-29799820', 'test.p.unique_mart', 'unique_mart', 'tests', 1, 'failed', now())"
        )
        connection.execute(
            "insert into dbt_refresh_artifact values ('phase2-29799820', 'failing_rows.json', 'application/json', %s, now())",
            [gzip.compress(json.dumps(found).encode())],
        )
    run = f"{PHASE2}/runs/phase2-29799820"
    (failure,) = eventually(lambda: page.json(run)["failures"], within=15)
    assert (failure["node"], failure["rows"]) == ("unique_mart", found["unique_mart"])
    html = page.get(run, accept="text/html").text
    assert "&lt;script&gt;document.title" in html
    assert "<script>document.title" not in html


def test_an_old_run_is_found_and_one_of_another_refresh_is_not(page):
    """Links stay valid while the run log keeps the run. Under another refresh, which a proxy may protect differently, it is not found."""
    assert page.json(f"{PHASE2}/runs/phase2-29000000")["run"]["outcome"] == "Succeeded"
    assert page.get("/refreshes/pages/other/runs/phase2-29000000").status_code == 404
    assert page.get(f"{PHASE2}/runs/phase2-1").status_code == 404


@pytest.mark.parametrize(
    "path", ["/refreshes/pages/phase2%00", f"{PHASE2}/runs/a%00", f"{PHASE2}/nodes/a%00", f"{PHASE2}/compare?before=%00"]
)
async def test_an_address_that_postgresql_rejects_hides_the_run_log_from_nobody(ground, page, path):
    """After an error of the warehouse, pages do without the run log for ten seconds. The control is that NUL is such an error."""
    answer = page.get(path)
    assert (answer.status_code, answer.text) == (400, "invalid address: it contains NUL")
    assert page.json(PHASE2)["logState"] == "Available"
    with pytest.raises(RunLogUnavailableError):
        await RunLogRepository(ground.secret).run_rows(Ref("pages", "phase2"), "a\0")


async def test_the_session_can_only_read(ground):
    """Even with the Secret of a superuser, the page must not be able to write."""
    own = mount_secret(ground.home / "own", **{**dict(_keys(ground)), "user": ground.database.env["PGUSER"]})
    mount_secret(own, password=ground.database.env["PGPASSWORD"])
    connection = await RunLogRepository(own)._connect()
    try:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("delete from dbt_refresh_run")
    finally:
        await connection.close()
    assert ground.database.rows("select count(*) from dbt_refresh_run")[0][0] == 33


async def test_missing_tables_count_as_empty(ground, fresh_database):
    """The first run creates the tables. Denied access, in contrast, is an error."""
    keys = {**dict(_keys(ground)), "dbname": fresh_database.name}
    records = RunLogRepository(mount_secret(ground.home / "fresh", **keys))
    past = await records.refresh_rows(Ref("pages", "phase2"))
    assert (past.runs, await records.run_rows(Ref("pages", "phase2"), "phase2-1")) == ((), None)
    fresh_database.run("create table dbt_refresh_run (run_id text)")
    with pytest.raises(RunLogUnavailableError):
        await RunLogRepository(mount_secret(ground.home / "denied", **{**keys, "dbname": "pages", "password": "wrong"})).refresh_rows(
            Ref("pages", "phase2")
        )


async def test_what_a_model_reads_comes_from_the_run_log_and_an_older_one_has_none(ground, page):
    """A run log without the column, of an older runner, is still shown, with all of its models and without a graph."""
    shown = {node["name"]: node for node in page.json(f"{PHASE2}/runs/phase2-29000000")["graph"]["nodes"]}
    assert shown["fait_implantations"]["parents"] == ["model.sigeti.stg_implantations", "seed.sigeti.zones"]
    assert (shown["zones"]["state"], shown["mart_creances_agees"]["state"]) == (None, "ok")
    records, ref = RunLogRepository(ground.secret), Ref("pages", "phase2")
    new = await records.run_rows(ref, "phase2-29000000")
    ground.database.run("alter table dbt_refresh_node rename column parents to other")
    try:
        old = await records.run_rows(ref, "phase2-29000000")
    finally:
        ground.database.run("alter table dbt_refresh_node rename column other to parents")
    assert old
    assert new
    assert [node.node_id for node in old.nodes] == [node.node_id for node in new.nodes]
    assert {node.parents for node in old.nodes} == {None}


async def test_revisions_come_from_the_run_log_and_an_older_one_has_none(ground):
    """Runs that are older than the status keep their revision. A run log without the column, of an older runner, is still shown."""
    records, ref, old = RunLogRepository(ground.secret), Ref("pages", "phase2"), "phase2-29000000"
    ground.database.run("alter table dbt_refresh_run add column if not exists revision text")
    revision = "main@sha1:" + "6e27e9a9" * 5
    ground.database.run(f"update dbt_refresh_run set revision = '{revision}' where run_id = '{old}'")
    found = {run.run: run.revision for run in (await records.refresh_rows(ref)).runs}
    assert (len(found), found[old], {found[run] for run in found if run != old}) == (33, revision, {None})
    one = await records.run_rows(ref, old)
    assert one
    assert one.run.revision == revision
    ground.database.run("alter table dbt_refresh_run rename column revision to other")
    try:
        runs = (await records.refresh_rows(ref)).runs
        assert [run.run for run in runs] == list(found)
        assert {run.revision for run in runs} == {None}
        assert await records.run_rows(ref, old)
        assert await records.run_rows(ref, "unknown") is None
    finally:
        ground.database.run("alter table dbt_refresh_run rename column other to revision")


def _keys(ground):
    return {path.name: path.read_text() for path in ground.secret.iterdir()}


@pytest.mark.slow
def test_a_warehouse_that_does_not_respond_delays_no_page(ground):
    """The warehouse accepts connections but never responds; the page is rendered from the status alone, and says so."""
    keys = _keys(ground)
    with Proxy(keys["host"], int(keys["port"])) as proxy:
        mute = mount_secret(ground.home / "mute", **{**keys, "host": "127.0.0.1", "port": str(proxy.port)})
        with ground.running(WAREHOUSE_PATH=str(mute)) as page:
            assert page.json(PHASE2)["logState"] == "Available"
            proxy.silence(new_ones_too=True)
            eventually(lambda: page.json(PHASE2)["logState"] == "Unavailable", within=30)
            found = page.json(PHASE2)
            assert (len(found["runs"]), page.json(LAST)["run"]["outcome"]) == (3, "Failed")
            assert page.get(f"{PHASE2}/runs/phase2-29000000").status_code == 503
            assert line(page, "phase2")["health"]["tone"] == "bad"


def test_if_the_api_server_is_down_the_page_shows_the_last_known_state(ground):
    """A banner says so. The page's log names the reason, but never the token."""
    where = urlsplit(ground.api.server)
    with Proxy(str(where.hostname), int(where.port or 443)) as proxy:
        line_of_cluster = f"https://127.0.0.1:{proxy.port}"
        with ground.running(API_SERVER=line_of_cluster) as page:
            assert page.json("/")["unreachableSince"] is None
            proxy.__exit__(None, None, None)
            eventually(lambda: page.json("/")["unreachableSince"], within=30)
            assert line(page, "phase2")["health"]["data"] == "Stale"
            eventually(lambda: "The cluster stopped responding" in page.get("/", accept="text/html").text, within=30)
            assert (ground.account / "token").read_text() not in page.log.read_text()


def test_a_preview_appears_and_disappears(ground, page):
    """The page watches previews by its own permission."""
    body = preview_body("of-phase2", "phase2")
    ground.api.create("pages", PREVIEWS, body)
    path = f"{PHASE2}/previews/of-phase2"
    eventually(lambda: page.get(path).status_code == 200, within=10)
    ground.api.patch("pages", PREVIEWS, "of-phase2", {"status": {"state": "Same", "message": "no mart differs"}}, status=True)
    eventually(lambda: page.json(path)["preview"]["state"] == "Same", within=10)
    assert [each["name"] for each in page.json(PHASE2)["previews"]] == ["of-phase2"]
    ground.api.delete("pages", PREVIEWS, "of-phase2")
    eventually(lambda: page.get(path).status_code == 404, within=10)
