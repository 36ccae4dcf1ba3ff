"""The page in a real browser."""

import re
from datetime import UTC, datetime
from itertools import pairwise, product
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from browser.conftest import EMPTY, HARM, SHOWN
from support.eventually import eventually
from support.page import write_refresh
from support.page_refreshes import build_history_entry, build_refresh, build_run_status, kube_time

PHASE2 = "/refreshes/sigeti/phase2-dashboards-refresh"
GROUPED = "/?group=namespace"
CALENDAR = "/calendar"
FAILED = f"{PHASE2}/runs/phase2-dashboards-refresh-29800000"
RUNNING = "/refreshes/sigeti/main-pipeline/runs/main-pipeline-29800010"
GOOD = "/refreshes/sigeti/emplois/runs/emplois-29800000"
NODE = "/refreshes/sigeti/emplois/nodes/model.sigeti.mart_emplois_crees"
COMPARE = f"{PHASE2}/compare"
TESTS = "/refreshes/sigeti/emplois/tests"
CONTRAST, UNNAMED = ((Path(__file__).parent / f"{name}.js").read_text() for name in ("contrast", "unnamed"))


@pytest.fixture(autouse=True)
def a_quiet_console(browser):
    """Fail a test whose console has an error, or whose page requested another host."""
    yield
    assert browser.complaints() == []


def test_an_empty_cluster_says_what_to_do(browser):
    """An empty table would look like a failure."""
    browser.open(EMPTY)
    assert browser.text("h1") == "There are no refreshes yet"
    assert "kubectl apply" in browser.text(".empty")


def test_the_overview_has_a_headline_and_the_most_urgent_refresh_first(browser):
    """It is meant to be understood at a glance."""
    browser.open(SHOWN)
    assert browser.text("h1") == "1 of 4 refreshes is stale"
    assert browser.driver.title == "✗ 1 of 4 refreshes is stale"
    assert browser.text("#refreshes tbody tr th").startswith("Phase 2")
    assert browser.count("#refreshes tbody tr") == 4
    assert "Stale" in browser.text("#r-sigeti-phase2-dashboards-refresh")
    assert "3/6 marts" in browser.text("#r-sigeti-main-pipeline")
    browser.resize(1280, 760)
    browser.picture("page-overview")


def test_search_filter_and_groups_stay_in_the_address(browser):
    """With the keyboard alone; the address can be kept as a bookmark."""
    browser.open(SHOWN)
    browser.driver.find_element("id", "state").send_keys("Stale")
    browser.driver.find_element("id", "group").send_keys("project")
    browser.driver.find_element("css selector", "#search button").send_keys(Keys.ENTER)
    eventually(lambda: browser.count("#refreshes tr.group") == 1, within=15)
    assert browser.driver.current_url.endswith("/?q=&state=stale&group=project")
    assert browser.text("#refreshes h2") == "The project in the chart's image of the runner"
    assert browser.count("#refreshes tbody tr:not(.group)") == 1
    assert browser.text("h1") == "1 of 4 refreshes is stale"
    browser.driver.refresh()
    assert browser.script("return document.getElementById('state').value + document.getElementById('group').value") == "staleproject"


def test_the_calendar_shows_what_overlaps_to_the_keyboard(browser):
    """The four refreshes have one schedule and one warehouse. Enter opens the list of runs, which says what is drawn."""
    browser.open(SHOWN)
    browser.driver.find_element("link text", "Next 24 hours").send_keys(Keys.ENTER)
    eventually(lambda: "coming runs overlap others" in browser.text("h1"), within=15)
    assert browser.count(".calendar tbody tr") == 4
    assert browser.count(".calendar path.warn") == 3
    browser.resize(1280, 760)
    browser.picture("page-calendar")
    waiting = browser.driver.find_elements("css selector", ".calendar summary")[1]
    waiting.send_keys(Keys.ENTER)
    eventually(lambda: "waits for sigeti/" in browser.text(".calendar details[open] li"), within=5)
    browser.speak("fr-FR,fr")
    browser.open(SHOWN, CALENDAR)
    assert "exécutions à venir en chevauchent d'autres" in browser.text("h1")


def test_a_failing_run_says_what_failed_and_where_to_look(browser):
    """Two clicks from the overview lead to the model, PostgreSQL's error, the log and the commands."""
    browser.open(SHOWN)
    browser.driver.find_element("css selector", "#r-sigeti-phase2-dashboards-refresh td a").click()
    eventually(lambda: browser.text("h1") == "This run failed", within=15)
    assert "stg_indemnisations" in browser.text(".failure h3")
    assert "LINE 24" in browser.text(".failure pre")
    assert "LayerFailed" in browser.text("#tail")
    assert "kubectl -n sigeti logs job/phase2-dashboards-refresh-29800000" in browser.text("#further")
    browser.resize(1280, 1100)
    browser.picture("page-run-failed")


def test_the_graph_of_a_run_leads_to_its_table(browser):
    """With the keyboard: each node is a stop, and Enter opens the table at its row. A phone scrolls the graph in its box."""
    browser.resize(390, 844)
    browser.open(SHOWN, GOOD)
    assert browser.count("svg.graph a") == 17
    assert browser.script("const box = document.querySelector('.drawing'); return box.scrollWidth > box.clientWidth")
    browser.script("document.querySelector('.drawing').focus()")
    assert browser.tab().startswith("sigeti.")
    assert browser.script("return document.activeElement.closest('svg.graph') !== null")
    first = browser.driver.find_element("css selector", "svg.graph a")
    where = first.get_dom_attribute("href").removeprefix("#")
    assert not browser.driver.find_element("id", where).is_displayed()
    first.send_keys(Keys.ENTER)
    eventually(lambda: browser.driver.find_element("id", where).is_displayed(), within=5)
    assert browser.text("tr:target th") == first.find_element("css selector", "text").text
    browser.resize(1280, 520)
    browser.open(SHOWN, GOOD)
    browser.script("document.querySelector('.drawing').scrollIntoView({block: 'center'})")
    browser.picture("page-graph")


def test_a_run_in_progress_updates_without_reloading(browser, api, pages):
    """A reload would lose the scroll position and open details."""
    browser.open(SHOWN, RUNNING)
    assert browser.text("h1") == "This run is in progress"
    assert "Running" in browser.text("#step-marts")
    browser.picture("page-run-running")
    now = browser.script("return Date.now()") / 1000
    write_refresh(api, _short_run(now, active=True))
    path = "/refreshes/vide/passing/runs/passing-1"
    eventually(lambda: pages(EMPTY).get(path).status_code == 200, within=15)
    browser.open(EMPTY, path)
    assert browser.text("h1") == "This run is in progress"
    browser.script("window.mark = 1")
    write_refresh(api, _short_run(now, active=False))
    eventually(lambda: browser.text("h1") == "This run succeeded", within=20)
    assert browser.script("return window.mark") == 1
    # Left before the refresh is deleted: an open page would ask for it once more, and the console of the next test would show a 404.
    browser.driver.get("about:blank")
    api.delete(EMPTY, "dashboardrefreshes", "passing")


def test_a_refresh_shows_its_history(browser):
    """Plots, runs and conditions all come from real rows here."""
    browser.open(SHOWN, "/refreshes/sigeti/emplois")
    assert browser.text("h1") == "Emplois créés"
    assert browser.count("#durations figure") == 7
    assert browser.count("#marts figure") == 4
    assert browser.count("#runs tbody tr") > 30
    assert "Set up and running on schedule" in browser.text("#conditions")
    browser.resize(1280, 1250)
    browser.picture("page-refresh")


@pytest.mark.parametrize("path", ["/", "/refreshes/harm/tort", "/refreshes/harm/tort/runs/tort-1"])
def test_hostile_names_and_messages_do_nothing(browser, path):
    """Scripts must not run, and characters that reverse a text must be visible."""
    browser.open(HARM, path)
    assert "pwned" not in browser.driver.title.partition("<")[0]
    assert browser.count("main img") == browser.count("main script") == 0
    assert "<script>document.title" in browser.text("main")
    assert "\u202e" not in browser.script("return document.documentElement.outerHTML")


@pytest.mark.parametrize("path", ["/", GROUPED, CALENDAR, PHASE2, FAILED, GOOD, NODE, COMPARE, TESTS])
def test_a_phone_shows_all_of_it(browser, path):
    """Horizontal scrolling makes a page unusable on a phone."""
    browser.resize(390, 844)
    browser.open(SHOWN, path)
    assert browser.script("return document.documentElement.scrollWidth") <= 390
    if path == "/":
        browser.picture("page-phone")


@pytest.mark.parametrize("path", ["/", GROUPED, CALENDAR, PHASE2, FAILED, NODE, COMPARE, TESTS])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast_in_light_and_dark_mode(browser, scheme, path):
    """WCAG AA requires a contrast of 4.5 to 1."""
    browser.colours(scheme)
    browser.open(SHOWN, path)
    assert browser.script(CONTRAST) == []
    if scheme == "dark" and path == FAILED:
        browser.resize(1280, 1100)
        browser.picture("page-dark")


def test_the_keyboard_reaches_everything(browser):
    """The first stop skips to the content. Search and links follow in reading order, each with a visible outline."""
    browser.open(SHOWN)
    assert browser.tab() == "Skip to content"
    stops = [(browser.tab(), browser.script("return document.activeElement.labels?.[0]?.textContent")) for _ in range(8)]
    assert [label or text for text, label in stops[:7]] == ["Dashboards", "Next 24 hours", "Search", "State", "Group by", "Show", "Phase 2"]
    assert browser.script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.driver.find_element("link text", "Phase 2").send_keys(Keys.ENTER)
    eventually(lambda: browser.text("h1") == "Phase 2", within=15)


@pytest.mark.parametrize("path", ["/", GROUPED, CALENDAR, PHASE2, FAILED, NODE, COMPARE, TESTS])
def test_a_screen_reader_finds_its_way(browser, path):
    """It needs landmarks, one h1, no skipped heading level, names of graphics, table headers and unique ids."""
    browser.open(SHOWN, path)
    assert [browser.count(each) for each in ("main", "header nav[aria-label]", "h1", "html[lang]")] == [1, 1, 1, 1]
    assert browser.script(UNNAMED) == []
    levels = browser.script("return [...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])")
    assert all(second - first <= 1 for first, second in pairwise(levels))


@pytest.mark.parametrize(
    ("namespace", "path"),
    [(EMPTY, "/"), *((SHOWN, path) for path in ("/", GROUPED, CALENDAR, PHASE2, FAILED, RUNNING, GOOD, NODE, COMPARE, TESTS))],
)
def test_axe_finds_nothing(browser, axe, namespace, path):
    """On a phone and a desktop, in light and dark mode: contrast, names, landmarks, headings, what the keyboard cannot scroll."""
    for size, scheme in product(((390, 844), (1280, 900)), ("light", "dark")):
        browser.resize(*size)
        browser.colours(scheme)
        browser.open(namespace, path)
        assert browser.violations(axe) == []


def test_the_graph_is_zoomed_by_buttons_and_keys(browser):
    """The size stays when the page is updated. Without scripts there are no buttons that do nothing: the page has them hidden."""
    browser.resize(390, 844)
    browser.open(SHOWN, GOOD)
    width = "return document.querySelector('svg.graph').getBoundingClientRect().width"
    whole = browser.script(width)
    buttons = {each.get_dom_attribute("data-zoom"): each for each in browser.driver.find_elements("css selector", "#zoom button")}
    buttons["in"].send_keys(Keys.ENTER)
    assert browser.script(width) == pytest.approx(1.25 * whole, rel=0.01)
    assert browser.text("#zoomed") == "125 %"
    buttons["fit"].click()
    assert browser.script(width) < whole / 2
    assert browser.script("const box = document.querySelector('.drawing'); return box.scrollWidth <= box.clientWidth")
    browser.script("document.querySelector('.drawing').focus()")
    fitted = browser.script(width)
    browser.driver.switch_to.active_element.send_keys("+")
    assert browser.script(width) == pytest.approx(1.25 * fitted, rel=0.02)
    for _ in range(30):
        browser.driver.switch_to.active_element.send_keys("-")
    assert browser.text("#zoomed") == "20 %"
    assert browser.script("return document.documentElement.scrollWidth") <= 390
    html = httpx.get(browser.pages(SHOWN).url + GOOD, trust_env=False, timeout=20).text
    assert re.search(r'<p id="zoom"[^>]* hidden>', html)


def test_a_model_leads_to_its_history_and_its_sql(browser):
    """From the steps of a run, and from there to the SQL of another run and to a test of the model."""
    browser.open(SHOWN, GOOD)
    browser.driver.find_element("link text", "mart_emplois_crees").send_keys(Keys.ENTER)
    eventually(lambda: browser.text("h1") == "mart_emplois_crees", within=15)
    assert "group by 1, 2, 3" in browser.text("#sql")
    assert "emplois_crees" in browser.text("#affected")
    assert browser.count("#durations .plot a") == len(browser.driver.find_elements("css selector", "#runs tbody tr"))
    browser.resize(1280, 1100)
    browser.picture("page-node")
    browser.driver.find_element("css selector", "#runs tbody tr:nth-child(2) td:last-child a").send_keys(Keys.ENTER)
    eventually(lambda: "?run=" in browser.driver.current_url, within=15)
    assert browser.text("h1") == "mart_emplois_crees"


def test_two_runs_are_compared_without_a_script(browser):
    """The page of a run links the comparison with the previous one; a form takes any two."""
    browser.open(SHOWN, FAILED)
    browser.driver.find_element("link text", "Compare with the previous run").send_keys(Keys.ENTER)
    eventually(lambda: "differences in models and tests" in browser.text("h1"), within=15)
    assert "stg_indemnisations" in browser.text("#changed")
    browser.resize(1280, 1100)
    browser.picture("page-compare")
    browser.driver.find_element("id", "before").send_keys("phase2-dashboards-refresh-29799640")
    browser.driver.find_element("css selector", "#choose button").send_keys(Keys.ENTER)
    eventually(lambda: "before=phase2-dashboards-refresh-29799640" in browser.driver.current_url, within=15)


def test_tests_are_shown_over_time(browser):
    """A test that failed and passes again is the first of those that pass."""
    browser.open(SHOWN, TESTS)
    assert browser.text("h1") == "No test fails"
    assert "not_null_fait_factures_zone_id" in browser.text("#tests tbody tr")
    assert browser.count("#tests tbody tr:first-child svg path.bad") == 1
    browser.resize(1280, 620)
    browser.picture("page-tests")


def test_axe_finds_a_button_without_a_name(browser, axe):
    """Otherwise the test above could not fail."""
    browser.open(SHOWN)
    browser.script("document.querySelector('#search button').textContent = ''")
    assert browser.violations(axe)[0].startswith("button-name: ")


def test_the_page_is_in_french_if_the_browser_prefers_it(browser):
    """Relative times come from the browser, so they must be French too."""
    browser.speak("fr-FR,fr")
    browser.open(SHOWN)
    assert browser.text("h1") == "1 rafraîchissement sur 4 est périmé"
    assert "il y a" in browser.text("#refreshes")
    browser.resize(1280, 760)
    browser.picture("page-french")


def _short_run(now, active):
    moment, run = datetime.fromtimestamp(int(now), UTC), "passing-1"
    if active:
        runs = [{"id": run, "trigger": "Requested", "startTime": kube_time(moment)}]
        return build_refresh("passing", moment, namespace=EMPTY, active=runs, run=build_run_status(run, moment, 3))
    return build_refresh("passing", moment, [build_history_entry(run, moment)], namespace=EMPTY, run=build_run_status(run, moment, 6))
