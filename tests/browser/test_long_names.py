"""Every page with the longest names, messages and references that the API server and the run log accept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from browser.conftest import LONG
from support.page import write_preview, write_refresh
from support.page_refreshes import build_history, build_refresh, build_run_status, kube_time
from support.run_log import describe_project, fill_run_log

NAME = "rafraichissement" * 3 + "four"
"""As long as the name of a refresh may be, and nowhere to break."""
FAILED, EARLIER, RUNNING = f"{NAME}-29800000", f"{NAME}-29799820", f"{NAME}-29800010"
STEP = "couche-des-indicateurs-operationnels-old"
IDENTIFIER = "indicateur" * 6 + "mnt"
"""As long as PostgreSQL allows."""
MART = f"{IDENTIFIER}.{IDENTIFIER}"
WORD = "indemnisation" * 20
REVISION = f"{'correction' * 25}@sha1:{'6e27e9a9' * 5}"
WIDER = (Path(__file__).parent / "wider.js").read_text()
PAGES = {
    "overview": "/",
    "group by project": "/?group=project",
    "group by label": "/?group=label:equipe",
    "calendar": "/calendar",
    "refresh": f"/refreshes/{LONG}/{NAME}",
    "failed run": f"/refreshes/{LONG}/{NAME}/runs/{FAILED}",
    "node": f"/refreshes/{LONG}/{NAME}/nodes/model.sigeti.mart_creances_agees{WORD}",
    "comparison": f"/refreshes/{LONG}/{NAME}/compare?before={EARLIER}",
    "tests": f"/refreshes/{LONG}/{NAME}/tests",
    "running run": f"/refreshes/{LONG}/autre/runs/{RUNNING}",
    "preview": f"/refreshes/{LONG}/{NAME}/previews/{NAME}",
}
PHONE, DESKTOP = (390, 844), (1280, 900)


def figures(**changes):
    """Return the figures of a column with values that leave nowhere to break."""
    return {"type": WORD[:255], "nulls": 0, "distinct": 5, "least": WORD[:255], "greatest": WORD[:255], "total": "9" * 200, **changes}


def column(name, **changes):
    return {"name": name, "changed": 2, "before": figures(), "after": figures(distinct=4), **changes}


@pytest.fixture(scope="module", autouse=True)
def long_names(api, postgres, pages):  # noqa: ARG001 - the namespaces are created with the pages
    """Create the refreshes, once for all tests."""
    fill_long(api, postgres)


def fill_long(api, postgres):
    """Create a refresh that failed and one that runs, and a preview, in the status and in the run log."""
    now = datetime.now(UTC).replace(microsecond=0)
    project = {"git": {"url": f"https://git.example.org/{'entrepots' * 20}.git", "path": "dossier" * 20, "ref": {"branch": WORD[:200]}}}
    spec = {
        "displayName": WORD[:80],
        "schedule": "*/30 * * * *",
        "warehouse": {"secretRef": {"name": WORD[:253]}},
        "project": project,
        "timeZone": "America/Argentina/ComodRivadavia",
    }
    runs = [{**run, "revision": REVISION, "message": WORD} for run in build_history(NAME, now, "FWSK")]
    marts = [
        {
            "relation": MART,
            "verdict": "FAILED",
            "message": WORD,
            "rows": 4_000_000_000,
            "nullShares": [{"column": IDENTIFIER, "share": "99.9%"}],
        }
    ]
    failed = build_run_status(FAILED, datetime.fromisoformat(runs[0]["startTime"]), 0, failed=0, message=WORD, validation=marts)
    failed["project"] = {"url": project["git"]["url"], "path": project["git"]["path"], "revision": REVISION, "message": WORD}
    failed["notifications"] = [{"channel": "#" + WORD[:70], "sent": False, "message": WORD}]
    failed["endpoints"] = [{"path": f"/{WORD}", "state": "Failed", "message": WORD, "version": WORD[:200]}]
    failed["tests"] = {"passed": 1, "warned": 1, "failed": 1, "failures": [WORD[:250]]}
    checked = {"lastCheckTime": kube_time(now), "revision": REVISION, "error": WORD}
    more = {"message": WORD, "projectCheck": checked, "consecutiveFailures": 1, "requestError": WORD}
    broken = build_refresh(NAME, now, runs, LONG, spec=spec, run=_with_long_steps(failed), **more)
    active = [{"id": RUNNING, "trigger": "Scheduled", "startTime": kube_time(now)}]
    running = _with_long_steps(build_run_status(RUNNING, now - timedelta(seconds=20), 2))
    other = build_refresh("autre", now, [], LONG, spec={**spec, "image": f"{'registre' * 10}/{'image' * 20}:1"}, active=active, run=running)
    for item in (broken, other):
        item["metadata"]["labels"] = {"equipe": WORD[:63]}
        write_refresh(api, item)
    mart = {"relation": MART, "key": [IDENTIFIER], "rowsBefore": 9, "rowsAfter": 8, "changed": 2, "removed": 1}
    mart["columns"] = [column(IDENTIFIER), {"name": IDENTIFIER[:-1], "before": figures()}]
    status = {
        "state": "Differs",
        "message": WORD,
        "startTime": kube_time(now),
        "completionTime": kube_time(now),
        "revision": REVISION,
        "shortRevision": REVISION[:100],
        "baseRevision": REVISION,
        "differences": ["Removed", "Changed", "Columns"],
        "unexpected": ["Changed"],
        "report": {
            "marts": [mart],
            "models": [{"name": WORD[:250], "milliseconds": 1234}],
            "problems": [{"name": WORD[:250], "failed": True, "message": WORD[:400]}],
            "removed": [WORD[:250]],
            "leftOut": [WORD[:400]],
        },
    }
    write_preview(api, LONG, NAME, NAME, status)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        fill_run_log(connection, LONG, NAME, runs, "\n".join(f'{{"level":"error","message":"{WORD}"}}' for _ in range(3)))
        describe_project(connection, LONG, NAME, WORD)
        which = "run_id in (select run_id from dbt_refresh_run where namespace = %(namespace)s)"
        values = {"namespace": LONG, "word": WORD, "name": IDENTIFIER, "step": STEP, "revision": REVISION}
        for change in (
            "dbt_refresh_run set revision = %(revision)s, message = %(word)s, pod = pod || run_id",
            "dbt_refresh_step set message = %(word)s, step = left(step || '-' || %(step)s, 40)",
            "dbt_refresh_node set node_id = case when node = 'mart_creances_agees' then node_id || %(word)s else node_id end",
            "dbt_refresh_node set message = %(word)s, node = node || %(word)s, step = left(step || '-' || %(step)s, 40)",
            "dbt_refresh_mart set message = %(word)s, relation = left(relation, 63) || '.' || %(name)s",
        ):
            connection.execute(f"update {change} where {which}", values)


def _with_long_steps(run):
    for step in run["steps"]:
        step["name"] = f"{step['name']}-{STEP}"[:40]
        step["message"] = WORD
    return run


@pytest.mark.parametrize("languages", ["en-GB,en", "fr-FR,fr"])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_long_names_make_no_page_wider_than_the_screen(browser, axe, path, languages):
    """Not on a phone, and not on a desktop. What is wider scrolls in a box of its own, which the keyboard reaches, as axe checks."""
    browser.speak(languages)
    browser.open(LONG, path)
    browser.script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert any(long in browser.text("main") for long in (NAME, WORD[:60], IDENTIFIER)), "the page shows no long name"
    for size in (PHONE, DESKTOP):
        browser.resize(*size)
        assert browser.script(WIDER) == []
        assert browser.violations(axe) == []
    assert browser.complaints() == []


def test_a_long_address_without_a_page_is_not_wider_than_a_phone(browser, pages):
    """The page repeats the address that does not exist."""
    browser.resize(*PHONE)
    browser.driver.get(f"{pages(LONG).url}/refreshes/{LONG}/{WORD}")
    assert WORD in browser.text("main")
    assert browser.script(WIDER) == []
    # The console shows the 404.
    browser.complaints()


def test_what_is_wider_than_the_screen_is_found(browser):
    """Otherwise the tests above could not fail: one word that does not wrap, and one that a box cuts off."""
    browser.resize(*PHONE)
    browser.open(LONG)
    browser.script(f"document.querySelector('main').insertAdjacentHTML('beforeend', '<p id=wide>{WORD}')")
    browser.script("document.getElementById('wide').style.overflowWrap = 'normal'")
    assert browser.script(WIDER)[0].startswith("the page: ")
    browser.script("document.querySelector('main').style.overflowX = 'hidden'")
    assert browser.script(WIDER)[0].startswith("P ")
