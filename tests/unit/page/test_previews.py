"""Previews on the page: a line on the page of their refresh, and a page of their own that can be linked."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from refresh_page.kube.models import Ref, refresh_of
from refresh_page.kube.previews import preview_of
from refresh_page.kube.store import Store
from refresh_page.runlog.history import RunLogReader
from refresh_page.views.preview import preview_view
from refresh_page.web.app import application
from refresh_page.web.handlers import Handlers
from refresh_page.web.sse import SseStreams
from refresh_page.web.templates import Templates
from support.page_refreshes import build_history, build_refresh
from support.snapshots import NOW, minutes_from_now

HOSTILE = "<script>alert(1)</script>\"'><img src=x>\u202egnp</title>"
Json = dict[str, Any]


def figures(**changes: Any) -> Json:
    return {"type": "integer", "nulls": 0, "distinct": 5, **changes}


def build_preview(name: str = "phase2-x7k2p", minutes: float = -5, refresh: str = "phase2", **status: Any) -> Json:
    """Build a preview that has found two changed rows, with changes of its status."""
    columns = [
        {
            "name": "prix",
            "changed": 2,
            "before": figures(total="150", least="10", greatest="50"),
            "after": figures(total="120", distinct=4),
        },
        {"name": "nouveau", "after": figures(type="text")},
    ]
    mart = {"relation": "marts.lots", "key": ["lot"], "rowsBefore": 5, "rowsAfter": 4, "changed": 2, "removed": 1, "columns": columns}
    done = {
        "state": "Differs",
        "message": "marts.lots: 1 removed, 2 changed",
        "startTime": minutes_from_now(minutes),
        "completionTime": minutes_from_now(minutes + 1),
        "revision": "fix@sha1:" + "0badcafe" * 5,
        "shortRevision": "fix@0badcafe",
        "baseRevision": "main@sha1:" + "6e27e9a9" * 5,
        "differences": ["Removed", "Changed", "Columns"],
        "unexpected": ["Changed"],
        "report": {"marts": [mart], "models": [{"name": "lots", "milliseconds": 1234}], "tests": 2, "leftOut": ["hook not run: x"]},
        **status,
    }
    metadata = {"name": name, "namespace": "default", "resourceVersion": "7", "creationTimestamp": minutes_from_now(minutes)}
    return {"metadata": metadata, "spec": {"refresh": refresh, "ref": {"branch": "fix"}}, "status": done}


def store_of(*previews: Json) -> Store:
    store = Store(NOW, ("",))
    store.replace("", [refresh_of(build_refresh("phase2", NOW, build_history("phase2", NOW, "S"), spec={"displayName": "Phase 2"}))])
    store.previews.replace("", map(preview_of, previews))
    return store


async def get(store: Store, path: str, **headers: str) -> httpx.Response:
    site = Handlers(store, RunLogReader(None), Templates(""), SseStreams(store), lambda: NOW)
    transport = httpx.ASGITransport(app=application(site))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_the_page_of_a_refresh_lists_its_previews():
    """Newest first, with a link. Without any, there is no such section."""
    store = store_of(build_preview("old", -60), build_preview("new"), build_preview("other", refresh="main"))
    text = (await get(store, "/refreshes/default/phase2")).text
    assert '<a href="/refreshes/default/phase2/previews/new">' in text
    assert text.index("previews/new") < text.index("previews/old")
    assert "previews/other" not in text
    shown = (await get(store, "/refreshes/default/phase2.json")).json()["previews"]
    assert [(each["name"], each["change"], each["state"]) for each in shown] == [
        ("new", "fix@0badcafe", "Differs"),
        ("old", "fix@0badcafe", "Differs"),
    ]
    assert 'id="previews"' not in (await get(store_of(), "/refreshes/default/phase2")).text


async def test_the_page_of_a_preview_shows_before_and_after_side_by_side():
    """Two bars for the rows and for each column: of its sum, or else of its distinct values. In French, too."""
    store, path = store_of(build_preview()), "/refreshes/default/phase2/previews/phase2-x7k2p"
    answer = await get(store, path)
    assert answer.status_code == 200
    for words in (
        "This change makes a difference to the marts",
        "compared with",
        "5 → 4 rows: 0 added, 1 removed, 2 changed (by lot)",
        "Not expected: rows changed",
        "hook not run: x",
        'aria-label="Rows of marts.lots before and after"',
        'aria-label="Sum before and after"',
        'width="800.0"',
        "no such column",
    ):
        assert words in " ".join(answer.text.split()), words
    view = (await get(store, f"{path}.json")).json()
    assert view["marts"][0]["columns"][0]["pair"] == {"isSum": True, "before": 1.0, "after": 0.8}
    assert view["marts"][0]["columns"][1]["pair"] is None
    assert view["report"]["marts"][0]["rowsAfter"] == 4
    assert "Cette modification change les marts" in (await get(store, path, accept_language="fr")).text


async def test_a_sample_is_said_on_the_page():
    """In the headline, too: it would read as if no row differed. The control is the mart without a sample."""
    mart: Json = {"relation": "marts.lots", "key": ["lot"], "rowsBefore": 5000, "rowsAfter": 5000}
    mart |= {"changed": 50, "columns": [{"name": "prix", "changed": 50, "before": figures(), "after": figures()}]}
    sample = {"oneIn": 5, "rowsBefore": 1000, "rowsAfter": 998}
    path = "/refreshes/default/phase2/previews/phase2-x7k2p"
    for of, share in ((sample, 50 / 998), (None, 0.01)):
        store = store_of(build_preview(report={"marts": [{**mart, "sample": of}], "models": []}))
        text, view = " ".join((await get(store, path)).text.split()), (await get(store, f"{path}.json")).json()
        assert ("Not all rows were compared, but a sample: 1,000 live ones, and 998 after the change." in text) == bool(of)
        assert ("in a sample of 1 key in 5: 0 added" in text) == bool(of)
        assert view["marts"][0]["columns"][0]["share"] == pytest.approx(share)
        same = store_of(build_preview(state="Same", report={"marts": [{**mart, "changed": 0, "columns": [], "sample": of}], "models": []}))
        headline = (
            "This change makes no difference to what was compared of the marts" if of else "This change makes no difference to the marts"
        )
        assert f'aria-live="polite"> {headline} </h1>' in " ".join((await get(same, path)).text.split())
        assert ("mais un échantillon" in (await get(store, path, accept_language="fr")).text) == bool(of)


@pytest.mark.parametrize(
    ("status", "headline"),
    [
        ({"state": "Same", "report": {"models": []}}, "This change makes no difference to the marts"),
        ({"state": "Failed", "message": "no such branch", "report": None}, "This preview failed"),
        ({"state": "Running", "completionTime": None, "report": None}, "This preview is in progress"),
        ({"state": "Pending", "startTime": None, "completionTime": None, "report": None}, "This preview is waiting"),
        ({"state": None, "message": None, "startTime": None, "report": None}, "This preview is waiting"),
        ({"state": "Perhaps", "report": "x", "conditions": 7}, "This preview is waiting"),
    ],
)
async def test_every_state_has_a_headline(status: Json, headline: str):
    """Also one that a newer operator wrote."""
    answer = await get(store_of(build_preview(**status)), "/refreshes/default/phase2/previews/phase2-x7k2p")
    assert answer.status_code == 200
    assert headline in answer.text


async def test_a_preview_is_found_below_its_own_refresh_only():
    """An address that names another refresh is not found."""
    store = store_of(build_preview(refresh="main"))
    assert (await get(store, "/refreshes/default/phase2/previews/phase2-x7k2p")).status_code == 404
    assert (await get(store, "/refreshes/default/main/previews/phase2-x7k2p")).status_code == 200


async def test_hostile_values_are_text():
    """Names of columns, values and messages come from a branch that nobody has reviewed."""
    mart = {
        "relation": HOSTILE,
        "rowsBefore": 1,
        "rowsAfter": 1,
        "columns": [{"name": HOSTILE, "after": figures(type=HOSTILE, least=HOSTILE)}],
    }
    report = {"marts": [mart], "models": [{"name": HOSTILE, "milliseconds": 1}], "problems": [{"name": HOSTILE, "failed": True}]}
    status: Json = {
        "message": HOSTILE,
        "shortRevision": HOSTILE,
        "revision": HOSTILE,
        "report": {**report, "leftOut": [HOSTILE], "removed": [HOSTILE]},
    }
    store = store_of(build_preview(**status))
    for path in ("/refreshes/default/phase2", "/refreshes/default/phase2/previews/phase2-x7k2p"):
        text = (await get(store, path)).text
        assert "alert(1)" in text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "\u202e" not in text


def test_an_open_page_follows_the_previews_of_its_refresh():
    """Those of others do not make it load again."""
    store = store_of(build_preview())
    before = store.version_of(Ref("default", "phase2"))
    store.previews.put(preview_of(build_preview("other", refresh="main")))
    assert store.version_of(Ref("default", "phase2")) == before
    store.previews.remove(Ref("default", "phase2-x7k2p"))
    assert store.version_of(Ref("default", "phase2")) != before


@pytest.mark.parametrize("total", ["NaN", "Infinity", "1e999", "-5", "x", None])
def test_a_sum_without_a_bar_leaves_the_distinct_values(total: str | None):
    """PostgreSQL has such sums; a plot has not."""
    column = {"name": "c", "before": figures(total=total, distinct=4), "after": figures(total="7", distinct=2)}
    mart = {"relation": "a.b", "rowsBefore": 0, "rowsAfter": 0, "columns": [column]}
    view = preview_view(preview_of(build_preview(report={"marts": [mart]})), "t", NOW)
    pair = view.marts[0].columns[0].pair
    assert pair
    assert (pair.is_sum, pair.before, pair.after) == (False, 1.0, 0.5)
