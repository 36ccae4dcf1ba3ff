"""HTTP responses, without a network: HTML and JSON, headers, rejections, and hostile texts."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest

from refresh_page.kube.models import Ref, refresh_of
from refresh_page.kube.store import Store
from refresh_page.runlog.history import RunLogReader
from refresh_page.web.app import application
from refresh_page.web.handlers import Handlers
from refresh_page.web.sse import SseStreams
from refresh_page.web.templates import Templates
from support.page_refreshes import MARTS, build_history, build_history_entry, build_refresh, build_run_status
from support.snapshots import NOW

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u202egnp\u0007</style></title>"

pages = lru_cache(Templates)


def store_of(*items):
    store = Store(NOW, ("",))
    store.replace("", map(refresh_of, items))
    return store


async def get(store, path, method="GET", base_path="", **headers):
    site = Handlers(store, RunLogReader(None), pages(base_path), SseStreams(store), lambda: NOW)
    transport = httpx.ASGITransport(app=application(site, base_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        return await client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def phase2(outcomes="FSS", **changes):
    runs = build_history("phase2", NOW, outcomes)
    return build_refresh(
        "phase2",
        NOW,
        runs,
        spec={"displayName": "Phase 2"},
        run=build_run_status(runs[0]["id"], NOW - timedelta(minutes=13), 0, failed=0),
        **changes,
    )


@pytest.mark.parametrize(
    ("items", "headline"),
    [
        ([], "There are no refreshes yet"),
        ([phase2("SSS")], "All dashboards are fresh"),
        ([phase2()], "The dashboards are stale"),
        ([phase2(), build_refresh("main", NOW, build_history("main", NOW, "S"))], "1 of 2 refreshes is stale"),
    ],
)
async def test_the_headline_sums_up_all_refreshes(items, headline):
    """It is meant for a screen across the room."""
    answer = await get(store_of(*items), "/")
    assert [text.strip() for text in re.findall(r"<h1[^>]*>(.*?)</h1>", answer.text, re.DOTALL)] == [headline]


async def test_before_the_first_list_nothing_is_claimed():
    """ "There are no refreshes" or a 404 would be wrong while the API server has not responded yet."""
    store = Store(NOW, ("",))
    assert "Loading refreshes from the cluster" in (await get(store, "/")).text
    assert (await get(store, "/refreshes/ns/any")).status_code == 503
    assert ((await get(store, "/readyz")).status_code, (await get(store, "/healthz")).status_code) == (503, 200)


@pytest.mark.parametrize("path", ["/", "/refreshes/default/phase2", "/refreshes/default/phase2/runs/phase2-29800000"])
async def test_the_same_path_returns_html_or_json(path):
    """Scripts use the Accept header, people add .json to the address."""
    store = store_of(phase2())
    html = await get(store, path, accept="text/html,application/xhtml+xml")
    by_header = await get(store, path, accept="application/json")
    by_ending = await get(store, (path if path != "/" else "/index") + ".json")
    assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert by_header.headers["content-type"] == "application/json"
    assert by_header.json() == by_ending.json()
    assert "LayerFailed" in json.dumps(by_header.json())
    first = [(await get(store, path)).json() for path in ("/.json", "/index.json")]
    assert first[0] == first[1] == (await get(store, "/", accept="application/json")).json()
    assert "LayerFailed" in html.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/refreshes/default/phase2", "/static/page.css", "/nowhere"])
async def test_only_get_and_head_are_allowed(method, path):
    """The page must not change anything, whatever route is added."""
    answer = await get(store_of(phase2()), path, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/refreshes/default/phase2", "/nowhere", "/static/page.js", "/index.json"])
async def test_every_response_has_security_headers(path):
    """They forbid external resources, frames and type sniffing, and block inline styles and scripts, so there must be none."""
    answer = await get(store_of(phase2()), path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
    assert not re.search(r"<style|\sstyle=|<script>|\son\w+=|(src|href)=\"?(https?:)?//", answer.text)


async def test_hostile_texts_are_escaped():
    """Titles, messages and names come from users. Control: each text is present in its escaped form."""
    runs = [build_history_entry("phase2-1", NOW, "Failed", message=HOSTILE)]
    run = build_run_status(
        "phase2-1", NOW, 0, failed=0, message=HOSTILE, validation=[{"relation": HOSTILE, "verdict": "FAILED", "message": HOSTILE}]
    )
    store = store_of(
        build_refresh(
            "phase2", NOW, runs, spec={"displayName": HOSTILE[:80], "schedule": HOSTILE}, run=run, message=HOSTILE, phase="Stalled"
        )
    )
    for path in ("/", "/refreshes/default/phase2", "/refreshes/default/phase2/runs/phase2-1", f"/{quote(HOSTILE)}"):
        text = (await get(store, path)).text
        assert "&lt;script&gt;alert(1)" in text, path
        assert not re.search(r"<script>|<img|\u202e|\x07", text), path
        assert "{{7*7}}" in text or path == "/", path


@pytest.mark.parametrize("path", ["/", "/refreshes/default/phase2", "/refreshes/default/phase2/runs/phase2-1"])
async def test_a_revision_is_shown_short_with_the_whole_one_as_its_title(path):
    """On a run's page it is also written out, beside the repository. The control: a run of the project in the image has none."""
    whole = "main<b>@sha1:" + "6e27e9a9" * 5
    project = {"url": "https://git.example.org/data/velos", "path": "dbt", "revision": whole, "message": "tag v1 was moved"}
    for revision in (whole, None):
        run = build_run_status("phase2-1", NOW, 6, project=project if revision else None)
        item = build_refresh("phase2", NOW, [build_history_entry("phase2-1", NOW, revision=revision)], run=run)
        text = (await get(store_of(item), path)).text
        assert (f'<code class="revision" title="main&lt;b&gt;@sha1:{"6e27e9a9" * 5}">main&lt;b&gt;@6e27e9a9</code>' in text) is (
            revision is not None
        )
        if path.endswith("phase2-1"):
            shown = ["<dt>Revision</dt>", project["url"], "<code>dbt</code>", project["message"]]
            assert [each in text for each in shown] == [revision is not None] * 4


async def test_a_proxy_may_keep_or_strip_the_base_path():
    """Links contain the base path in both cases."""
    store = store_of(phase2())
    for path in ("/", "/ops/"):
        answer = await get(store, path, base_path="/ops")
        assert answer.status_code == 200
        assert 'href="/ops/refreshes/default/phase2"' in answer.text


async def test_the_page_speaks_french():
    """The browser's preferred language decides."""
    store = store_of(phase2())
    french = [await get(store, path, accept_language="fr-FR,fr;q=0.9") for path in ("/", "/refreshes/default/phase2", "/nowhere")]
    assert all('<html lang="fr">' in page.text for page in french)
    assert "Les tableaux de bord sont périmés" in french[0].text
    assert french[0].headers["content-language"] == "fr"


async def test_without_the_run_log_a_page_says_how_to_add_it():
    """The page works from the status alone, including the steps of the last run."""
    store = store_of(phase2())
    run = await get(store, "/refreshes/default/phase2/runs/phase2-29800000")
    assert "page.warehouse.secretName" in run.text
    assert "page.warehouse.secretName" in (await get(store, "/refreshes/default/phase2")).text
    assert "kubectl -n default logs job/phase2-29800000" in run.text
    steps = (await get(store, "/refreshes/default/phase2/runs/phase2-29800000.json")).json()["steps"]
    assert [(step["step"], step["state"]) for step in steps][:2] == [("staging", "Failed"), ("facts", "Skipped")]


async def test_verdicts_are_shown_with_a_sign_and_a_word():
    """A colour alone is not readable for everybody."""
    shares = [{"column": "zone_id", "share": "12.5%"}]
    run = build_run_status(
        "phase2-1", NOW, 6, validation=[{"relation": MARTS[0], "verdict": "WARNING", "rows": 4180, "nullShares": shares}]
    )
    store = store_of(build_refresh("phase2", NOW, [build_history_entry("phase2-1", NOW, "Warned")], run=run))
    text = (await get(store, "/refreshes/default/phase2/runs/phase2-1")).text
    assert all(word in text for word in ("⚠", "WARNING", "4,180", "12.5%", MARTS[0]))


async def test_refreshes_are_shown_100_per_page_and_can_be_searched():
    """The most urgent refreshes are on the first page."""
    good, bad = (refresh_of(build_refresh("r", NOW, build_history("r", NOW, outcomes))) for outcomes in ("S", "F"))
    store = Store(NOW, ("",))
    store.replace("", (replace(bad if number == 777 else good, ref=Ref("default", f"r-{number}")) for number in range(600, 851)))
    first, last, found = (await get(store, "/")).text, (await get(store, "/?page=3")).text, (await get(store, "/?q=R-77")).text
    assert first.index("r-777") < first.index("r-600")
    assert [text.count('<tr role="row" id=') for text in (first, last, found)] == [100, 51, 10]


GROUPED = "/?group=label:team&state=stale"


async def test_groups_have_headings_and_the_form_keeps_what_was_asked_for():
    """A group that goes on on the next page has its heading there, too."""
    store = Store(NOW, ("",))
    bad = refresh_of(build_refresh("r", NOW, build_history("r", NOW, "F")))
    refreshes = [replace(bad, ref=Ref("default", f"r-{number}"), labels={"team": "ab"[number % 2]}) for number in range(250)]
    store.replace("", [*refreshes, replace(bad, ref=Ref("default", "none"))])
    first, second, last = [(await get(store, f"{GROUPED}&page={page}")).text for page in (1, 2, 3)]
    headings = [re.findall(r"<h2>\s*(.*?)\s*</h2>", text) for text in (first, second, last)]
    assert headings == [["<bdi>a</bdi>"], ["<bdi>a</bdi>", "<bdi>b</bdi>"], ["<bdi>b</bdi>", "Without the label team"]]
    assert '<option value="stale" selected>' in second
    assert '<option value="label:team" selected>' in second
    assert [f"?state=stale&amp;group=label%3Ateam{page}" in second for page in ('"', "&amp;page=3")] == [True, True]
    for name in ("q", "state", "group"):
        assert f'<label for="{name}">' in first
    found = (await get(store, "/.json?group=label:team&q=none")).json()
    assert [(group["name"], group["counts"]["total"]) for group in found["groups"]] == [("", 1)]


async def test_a_filter_that_nothing_matches_says_so():
    """The headline is still about all refreshes, and the form is there to change the filter."""
    text = (await get(store_of(phase2()), "/?state=running")).text
    assert "The dashboards are stale" in text
    assert "No refresh matches" in text
    assert '<form id="search"' in text
    assert "No refresh matches" not in (await get(store_of(phase2()), "/?state=stale")).text


async def test_an_unknown_filter_is_refused():
    """In HTML and in JSON. What was asked for is not repeated in the response."""
    html, text = await get(store_of(phase2()), "/?state=<b>"), await get(store_of(phase2()), "/.json?group=<b>")
    assert (html.status_code, html.headers["content-type"], "<b>" in html.text) == (400, "text/plain; charset=utf-8", False)
    assert (text.status_code, text.json()) == (400, {"error": "group: expected project, namespace or label:KEY"})


async def test_one_refresh_needs_no_form():
    """There is nothing to choose. Control: with two refreshes, it is there."""
    other = build_refresh("main", NOW, build_history("main", NOW, "S"))
    forms = [(await get(store_of(*items), "/")).text.count("<form") for items in ([phase2()], [phase2(), other])]
    assert forms == [0, 1]


REVISION = "main@sha1:6e27e9a9c1f0b7f3a5d4e2c1b0a9f8e7d6c5b4a3"


@pytest.mark.parametrize(
    ("check", "texts"),
    [
        ({"revision": REVISION}, ["newest seen:", "main@6e27e9a9", "5 min ago"]),
        ({"revision": REVISION, "error": "the server refuses <the> token"}, ["Failed", "refuses &lt;the&gt; token", "main@6e27e9a9"]),
        ({"error": "cannot be reached"}, ["Failed", "cannot be reached"]),
    ],
)
async def test_a_refresh_shows_its_project_and_the_last_check_of_it(check, texts):
    """Whoever has pushed a commit sees here whether it was noticed. Control: without a check, nothing is said of one."""
    project = {"git": {"url": "https://git.example.org/velos.git", "ref": {"branch": "main"}}}
    checked = build_refresh("velos", NOW, spec={"project": project}, projectCheck={"lastCheckTime": "2026-03-03T11:55:00Z", **check})
    text = (await get(store_of(checked), "/refreshes/default/velos")).text
    assert "https://git.example.org/velos.git" in text
    assert [each for each in texts if each not in text.partition('id="project-check"')[2].partition("</div>")[0]] == []
    found = (await get(store_of(checked), "/refreshes/default/velos.json")).json()["projectCheck"]
    assert found == {"time": "2026-03-03T11:55:00Z", "revision": None, "error": None, **check}
    assert 'id="project-check"' not in (await get(store_of(build_refresh("velos", NOW)), "/refreshes/default/velos")).text


BADGE = "/refreshes/default/phase2/badge.svg"


def words_of(answer: httpx.Response) -> str:
    """The words of a badge, which is well-formed XML without scripts, styles and links."""
    picture = ElementTree.fromstring(answer.content)
    assert {each.tag.rpartition("}")[2] for each in picture.iter()} == {"svg", "title", "rect", "path", "g", "text"}
    assert not any(name.startswith("on") or name.endswith("href") or name == "style" for each in picture.iter() for name in each.attrib)
    title = picture.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    return title.text or ""


@pytest.mark.parametrize(
    ("refresh", "words", "colour"),
    [
        (phase2("SSS"), "Phase 2: ✓ Fresh · loaded 12 min ago", "#1a7f37"),
        (phase2(), "Phase 2: ✗ Stale · became stale ", "#cf222e"),
        (build_refresh("phase2", NOW, []), "Phase 2: – No data yet", "#59636e"),
    ],
)
async def test_a_badge_says_whether_the_data_is_fresh(refresh, words, colour):
    """By words, a sign and a colour, so that nobody depends on the colour."""
    answer = await get(store_of(refresh), BADGE)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert words_of(answer).startswith(words), answer.text
    assert f'fill="{colour}"' in answer.text


async def test_a_badge_can_be_shown_by_other_sites_and_a_page_cannot():
    """A wiki embeds the picture. Its age is bounded, and proxies do not share it between readers."""
    store = store_of(phase2())
    badge, page = await get(store, BADGE), await get(store, "/refreshes/default/phase2")
    assert badge.headers["cross-origin-resource-policy"] == "cross-origin"
    assert badge.headers["cache-control"] == "private, max-age=60"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"


async def test_a_badge_claims_nothing_that_is_not_known():
    """It has no banner. A refresh that does not exist has a badge, too: a broken picture would say less."""
    store = store_of(phase2("SSS"))
    gone = await get(store, BADGE.replace("phase2", "gone"))
    assert (gone.status_code, words_of(gone)) == (404, "gone: – Not known")
    store.mark_unreachable("", NOW - timedelta(minutes=5), "refused")
    away = await get(store, BADGE)
    assert (away.status_code, words_of(away)) == (503, "Phase 2: – Not known")


async def test_a_badge_is_in_the_readers_language_and_escapes_titles():
    """A title of 80 characters does not fill a wiki's line."""
    french = await get(store_of(phase2("SSS")), BADGE, accept_language="fr")
    assert (words_of(french), french.headers["content-language"]) == ("Phase 2: ✓ À jour · chargées il y a 12 min", "fr")
    hostile = build_refresh("phase2", NOW, [], spec={"displayName": HOSTILE[:60] + "x" * 20})
    answer = await get(store_of(hostile), BADGE)
    assert "<script" not in answer.text
    assert len(words_of(answer).partition(": ")[0]) <= 60
