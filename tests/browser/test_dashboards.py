"""The example dashboards in a real browser, on marts that the real runner publishes."""

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from browser.conftest import HOSTILE
from browser.test_pages import CONTRAST, UNNAMED
from cluster.ports import free_port
from refresh_examples.load import load
from refresh_examples.reads import BOARDS
from refresh_examples.sources import Sources
from support.browser import Browser
from support.eventually import eventually
from support.laptop import ROOT, SAMPLES, dashboard_api, runner
from support.page import PageProcess
from support.postgres import Database, create_database

MART = "dwh_marts_operationnel.mart_indemnisations"
# notes when the version in sight changes, and whether anything was ever out of sight
WATCH = """
window.mark = 1; window.seen = null; window.gone = false;
const before = document.querySelector('#version').textContent;
new MutationObserver(() => {
  const shown = document.querySelector('#version');
  if (!shown || !document.querySelector('.figures')) window.gone = true;
  else if (!window.seen && shown.textContent !== before) window.seen = Date.now();
}).observe(document.body, {subtree: true, childList: true, characterData: true});
"""


@dataclass(frozen=True)
class Shop:
    """A warehouse, the runner, and the example API on a port of its own."""

    database: Database
    port: int
    place: Path

    def refresh(self, sample: str) -> int:
        """Run a sample with the runner's command line; return its exit code."""
        command = runner("run", str(SAMPLES / f"{sample}.yaml"), "--project", str(ROOT / "dbt_project"), "--workdir", str(self.place))
        env = {**os.environ, **self.database.env, "API_BASE_URL": f"http://127.0.0.1:{self.port}"}
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        print(f"{sample} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
        return done.returncode

    def row(self, query: str) -> tuple[object, ...]:
        """Return the only row of a query."""
        (row,) = self.database.rows(query)
        return row


@pytest.fixture(scope="module")
def shop(postgres, tmp_path_factory) -> Shop:
    """The example, in which one zone has a hostile name and both refreshes have run once."""
    made = Shop(create_database(postgres, "vitrine_vue"), free_port(), tmp_path_factory.mktemp("shop"))
    with made.database.connect() as connection:
        load(connection, Sources(300, 7, datetime.now().date()))
        connection.execute("update sigeti.zones set nom = %s where zone_id = 1", [HOSTILE])
    assert [made.refresh(sample) for sample in ("main", "phase2")] == [0, 0]
    return made


@pytest.fixture(scope="module")
def serving(shop, files):
    """An exit stack that runs the API until the end of the module."""
    with ExitStack() as stack:
        stack.enter_context(dashboard_api({**shop.database.env, "DASHBOARDS": str(files)}, shop.port))
        yield stack


@pytest.fixture
def window(driver, shop, serving, request):  # noqa: ARG001 - the API must run
    """The browser on the dashboards; its console must stay empty."""
    found = Browser(driver, lambda _: PageProcess(f"http://127.0.0.1:{shop.port}", Path()), request.config.getoption("--screenshots"))
    found.reset()
    yield found
    assert found.complaints() == []


def figures(window: Browser) -> dict[str, float]:
    """Return the displayed totals."""
    text = "return Object.fromEntries([...document.querySelectorAll('[data-measure]')].map(e => [e.dataset.measure, +e.dataset.value]))"
    return window.script(text)


def look(window: Browser, query: str) -> None:
    """Open a view and wait for its figures."""
    window.open("", f"/{query}")
    eventually(lambda: window.count(".figures") == 1 and window.count("svg.recharts-surface") > 0, within=40)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.dashboard.name)
def test_a_dashboard_shows_its_marts_numbers(window, shop, board):
    """Figures without their version could be from any run."""
    look(window, f"?tableau={board.dashboard.name}")
    shown = figures(window)
    assert len(shown) > 3
    wanted = shop.row(f"select {', '.join(f'sum({name})::float' for name in shown)} from {board.dashboard.relation}")
    assert tuple(shown.values()) == pytest.approx(wanted)
    assert str(shop.row("select version from dbt_refresh_version where refresh = 'phase2-dashboards-refresh'")[0]) in window.text(
        "#version"
    )
    if board.dashboard.name == "creances-agees":
        window.resize(1280, 1000)
        window.picture("dashboard-creances")


def test_a_zone_leads_to_its_months_and_a_month_to_its_records(window, shop):
    """Each level must agree with the mart. The way back is a link, or the browser's back button."""
    zone, name, year, month, cases = shop.row(
        f"select zone_id, nom_zone, annee, mois, nb_dossiers from {MART} where zone_id > 1 and annee > 0"
        " order by nb_dossiers desc, 1, 3, 4 limit 1"
    )
    look(window, "?tableau=indemnisations")
    window.driver.find_element("link text", str(name)).click()
    total = shop.row(f"select sum(nb_dossiers)::float from {MART} where zone_id = {zone}")[0]
    eventually(lambda: figures(window).get("nb_dossiers") == total, within=40)
    link = window.driver.find_element(
        "css selector", f"tbody a[href*='annee={year}&mois={month}'], tbody a[href*='annee={year}'][href*='mois={month}']"
    )
    link.click()
    eventually(lambda: window.count("#records tbody tr") == cases, within=40)
    assert figures(window)["nb_dossiers"] == cases
    assert "ne correspondent pas" not in window.text("#records")
    window.picture("dashboard-records")
    window.driver.back()
    eventually(lambda: figures(window).get("nb_dossiers") == total, within=40)


def test_filters_narrow_down_and_are_in_the_address(window, shop):
    """Otherwise an address that is shared would open another view."""
    look(window, "?tableau=emplois-crees")
    year = shop.row("select max(annee) from dwh_marts_operationnel.mart_emplois_crees")[0]
    Select(window.driver.find_element("name", "annee")).select_by_value(str(year))
    total = shop.row(f"select sum(nb_crees)::float from dwh_marts_operationnel.mart_emplois_crees where annee = {year}")[0]
    eventually(lambda: figures(window).get("nb_crees") == total, within=40)
    assert f"annee={year}" in window.driver.current_url
    window.open("", "/?tableau=emplois-crees&annee=1900")
    eventually(lambda: "Aucune donnée" in window.text("#empty"), within=40)


def test_a_publish_changes_what_is_seen_within_five_seconds(window, shop):
    """A reload would lose filter and focus, and show a blank page in between."""
    look(window, "?tableau=indemnisations&zone=2")
    window.script(WATCH)
    window.script("document.querySelector('select[name=zone]').focus()")
    before = figures(window)
    shop.database.run("update sigeti.indemnisations set montant_du = montant_du + 1000")
    assert shop.refresh("phase2") == 0
    published = shop.row(
        "select extract(epoch from published_at)::float from dbt_refresh_version where refresh = 'phase2-dashboards-refresh'"
    )[0]
    seen = eventually(lambda: window.script("return window.seen"), within=40)
    print(f"seen {seen / 1000 - published:.2f} s after the publish")
    assert 0 < seen / 1000 - published < 5
    wanted = shop.row(f"select sum(montant_du)::float from {MART} where zone_id = 2")[0]
    assert figures(window)["montant_du"] == pytest.approx(wanted)
    assert figures(window)["montant_du"] > before["montant_du"]
    assert window.script("return [window.mark, window.gone, document.activeElement.name, document.activeElement.value]") == [
        1,
        False,
        "zone",
        "2",
    ]


def test_a_failed_run_changes_nothing(window, shop):
    """A failed refresh publishes nothing. The run log proves that it did fail."""
    look(window, "?tableau=indemnisations")
    window.script(WATCH)
    before, version = figures(window), window.text("#version")
    shop.database.run("update sigeti.indemnisations set montant_du = montant_du + 1000")
    shop.database.run("alter table sigeti.emplois rename column nb_crees to nb_perdus")
    try:
        assert shop.refresh("phase2") == 1
    finally:
        shop.database.run("alter table sigeti.emplois rename column nb_perdus to nb_crees")
    assert shop.row("select success from dbt_refresh_log order by refresh_id desc limit 1") == (False,)
    assert (figures(window), window.text("#version"), window.text("#live")) == (before, version, "en direct")
    assert window.script("return [window.mark, window.seen, window.gone]") == [1, None, False]
    look(window, "?tableau=indemnisations")
    assert (figures(window), window.text("#version")) == (before, version)


def test_hostile_names_do_nothing(window):
    """Names in the warehouse come from users; scripts in them must not run."""
    look(window, "?tableau=indemnisations")
    assert "<script>document.title" in window.text("main table")
    look(window, "?tableau=indemnisations&zone=1")
    assert "<script>document.title" in window.text(".breadcrumb")
    assert "\u202e" not in window.script("return document.documentElement.outerHTML")
    assert "pwned" not in window.driver.title
    assert window.count("main img") == window.count("main script") == 0


@pytest.mark.parametrize("query", ["", "?tableau=creances-agees", "?tableau=indemnisations&zone=1"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_can_be_read_by_day_by_night_and_by_a_screen_reader(window, scheme, query):
    """Contrast, accessible names, headings and landmarks; on a phone, nothing is wider than the window."""
    window.colours(scheme)
    look(window, query)
    assert window.script(CONTRAST) == []
    assert window.script(UNNAMED) == []
    assert [window.count(each) for each in ("main", "header nav[aria-label]", "h1", "html[lang=fr]")] == [1, 1, 1, 1]
    levels = window.script("return [...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])")
    assert all(second - first <= 1 for first, second in pairwise(levels))
    window.resize(390, 844)
    # A plot takes its new width a moment after its window has.
    eventually(lambda: window.script("return document.documentElement.scrollWidth") <= 390, within=5)


def test_the_keyboard_reaches_everything(window):
    """The first stop skips to the content; dashboards and filters follow."""
    look(window, "")
    assert window.tab() == "Aller au contenu"
    assert [window.tab() for _ in range(4)] == ["Suivi des implantations", "Indemnisations", "Emplois créés", "Créances âgées"]
    window.tab()
    assert window.script("return document.activeElement.name") == "zone"
    window.driver.find_element("link text", "Créances âgées").send_keys(Keys.ENTER)
    eventually(lambda: window.text("h1") == "Créances âgées" and window.count(".figures") == 1, within=40)


def test_an_api_that_is_away_is_said_and_comes_back(shop, serving, window, files):
    """An API that is down must not blank the screen: the last figures stay."""
    look(window, "?tableau=indemnisations")
    window.script(WATCH)
    before = figures(window)
    serving.close()
    eventually(lambda: "ne répond pas" in window.text("#live"), within=40)
    assert figures(window) == before
    serving.enter_context(dashboard_api({**shop.database.env, "DASHBOARDS": str(files)}, shop.port))
    eventually(lambda: window.text("#live") == "en direct", within=30)
    assert window.script("return [window.mark, window.gone]") == [1, False]
    refused = window.complaints()
    assert refused
    assert all("ERR_CONNECTION_REFUSED" in line or "ERR_INCOMPLETE_CHUNKED_ENCODING" in line for line in refused), refused
