"""Fixtures: a real browser, and a page on a real API server and PostgreSQL with refreshes in every state."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from refresh_examples.embedded import EmbeddedPostgres
from support.apiserver import ApiServer
from support.browser import Browser
from support.kubectl import Kubectl
from support.laptop import ROOT
from support.page import PageProcess, grant_page_permissions, mount_secret, run_page, write_refresh
from support.page_refreshes import MARTS, build_history, build_refresh, build_run_status, kube_time
from support.run_log import RunLogFiller, create_run_log_tables, describe_project, fill_run_log

SHOWN = "sigeti"
EMPTY = "vide"
HARM = "harm"
LONG = "long"
HOSTILE = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\"></style>\u202egnp.exe"
LOG = "\n".join(
    f'{{"time":"2026-03-03T11:47:{2 * number:02d}.120Z","level":"{level}","message":"{message}"}}'
    for number, (level, message) in enumerate(
        [
            ("info", "1/6 staging: 3 models"),
            ("info", "stg_implantations: ok, 4.1 s"),
            ("error", 'stg_indemnisations: column \\"montant_du\\" does not exist'),
            ("info", "stg_emplois_crees: ok, 4.5 s"),
            ("error", "run failed: LayerFailed"),
        ]
    )
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--screenshots FOLDER`, which saves screenshots of the page."""
    parser.addoption("--screenshots", default="", help="folder for screenshots of the page")


@pytest.fixture(scope="session")
def pages(
    contract: Kubectl, api: ApiServer, helm: Path, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], PageProcess]]:
    """Return the page of a namespace: SHOWN, EMPTY, HARM or LONG."""
    home = tmp_path_factory.mktemp("pages")
    now = datetime.now(UTC).replace(microsecond=0)
    accounts = {}
    for namespace in (SHOWN, EMPTY, HARM, LONG):
        api.create("", "namespaces", {"metadata": {"name": namespace}})
        accounts[namespace] = grant_page_permissions(contract.within(namespace), api, helm, home / namespace)
    fill_shown(api, postgres, now)
    run = build_run_status("tort-1", now - timedelta(minutes=5), 0, failed=0, message=HOSTILE)
    run["validation"] = [{"relation": HOSTILE, "verdict": "FAILED", "message": HOSTILE}]
    runs = [{**build_history("tort", now, "F")[0], "id": "tort-1", "message": HOSTILE}]
    write_refresh(api, build_refresh("tort", now, runs, HARM, spec={"displayName": HOSTILE[:80]}, run=run, message=HOSTILE))
    keys = {"host": postgres.host, "port": str(postgres.env["PGPORT"]), "dbname": str(postgres.env["PGDATABASE"]), "sslmode": "disable"}
    reader = mount_secret(home / "secret", **keys, user=str(postgres.env["PGUSER"]), password=str(postgres.env["PGPASSWORD"]))
    started: dict[str, PageProcess] = {}
    open_ones = [run_page(api.server, name, accounts[name], home, {"WAREHOUSE_PATH": str(reader)}) for name in accounts]
    for name, each in zip(accounts, open_ones, strict=True):
        started[name] = each.__enter__()
    yield started.__getitem__
    for each in open_ones:
        each.__exit__(None, None, None)


def fill_shown(api: ApiServer, postgres: EmbeddedPostgres, now: datetime) -> None:
    """Create four refreshes: failed, running, warned and succeeded."""
    failed = build_history("phase2-dashboards-refresh", now, "FSSSSWSSSS")
    started = datetime.fromisoformat(failed[0]["startTime"])
    bad = build_run_status(failed[0]["id"], started, 0, failed=0)
    bad["notifications"] = [{"channel": "#phase2-alerts", "sent": True}, {"channel": "admin@sigeti.local", "sent": True}]
    write_refresh(
        api, build_refresh("phase2-dashboards-refresh", now, failed, SHOWN, spec={"displayName": "Phase 2"}, run=bad, consecutiveFailures=1)
    )
    pipeline = build_history("main-pipeline", now, "SSSSSSSSSS", timedelta(minutes=10))
    begun = now - timedelta(seconds=26)
    active = [{"id": "main-pipeline-29800010", "trigger": "Scheduled", "startTime": kube_time(begun)}]
    run = build_run_status(active[0]["id"], begun, 2)
    write_refresh(api, build_refresh("main-pipeline", now, pipeline, SHOWN, spec={"displayName": "Main pipeline"}, active=active, run=run))
    warned = build_history("creances-mensuelles", now, "WSSS")
    write_refresh(api, build_refresh("creances-mensuelles", now, warned, SHOWN, spec={"displayName": "Créances mensuelles"}))
    good = build_history("emplois", now, "SSSSSSKSS")
    marts = [{"relation": relation, "verdict": "VALID", "rows": rows} for relation, rows in zip(MARTS, (4521, 2371, 3902, 15), strict=True)]
    whole = build_run_status(good[0]["id"], datetime.fromisoformat(good[0]["startTime"]), 6, validation=marts)
    write_refresh(
        api,
        build_refresh("emplois", now, good, SHOWN, spec={"displayName": "Emplois créés", "freshness": {"maxStaleness": "4h"}}, run=whole),
    )
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        create_run_log_tables(connection)
        fill_run_log(connection, SHOWN, "phase2-dashboards-refresh", failed, LOG)
        fill_run_log(connection, SHOWN, "emplois", [run for run in good if run["outcome"] != "Skipped"], LOG)
        for name in ("phase2-dashboards-refresh", "emplois"):
            describe_project(connection, SHOWN, name)
        connection.execute(
            "update dbt_refresh_node set state = 'failed' where node = 'not_null_fait_factures_zone_id'"
            " and run_id in (select run_id from dbt_refresh_run where refresh = 'emplois' order by started_at desc offset 4 limit 2)"
        )
        RunLogFiller(connection, SHOWN, "main-pipeline").run(active[0]["id"], begun, "", done=2)


@pytest.fixture(scope="session")
def driver() -> Iterator[webdriver.Chrome]:
    """A headless Chromium, from Debian's package."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-proxy-server"):
        options.add_argument(word)
    # resolve no other host, so that a page that loads an external resource fails
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    found.set_page_load_timeout(60)
    yield found
    found.quit()


@pytest.fixture(scope="session")
def files() -> Path:
    """The folder of the built front end of the dashboards."""
    subprocess.run([str(ROOT / "scripts/dashboards")], check=True, timeout=280)
    return ROOT / ".state/dashboards"


@pytest.fixture(scope="session")
def axe(files: Path) -> str:  # noqa: ARG001 - built with the same packages
    """The source of axe-core, which finds what keeps people with disabilities from using a page."""
    return (ROOT / "examples/dashboards/node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture
def browser(driver: webdriver.Chrome, pages: Callable[[str], PageProcess], request: pytest.FixtureRequest) -> Browser:
    """The browser, reset to its default size, colour scheme and language."""
    found = Browser(driver, pages, request.config.getoption("--screenshots"))
    found.reset()
    return found
