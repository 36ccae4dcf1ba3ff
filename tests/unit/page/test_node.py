"""The page of a node, from the run log."""

import json
from datetime import timedelta
from typing import Any

import pytest

from refresh_page.i18n.locale import Locale
from refresh_page.kube.models import Ref, refresh_of
from refresh_page.runlog.models import RunLogState
from refresh_page.runlog.node_models import NeighbourRow, NodeMartRow, NodeRows, NodeRunRow
from refresh_page.runlog.project import project_of
from refresh_page.runlog.run_results import MAX_SQL, Statement, compiled_sql
from refresh_page.views.node import compiled_of, neighbours_of, node_detail, run_with_sql
from refresh_page.web.templates import Templates
from support.page_refreshes import build_refresh
from support.snapshots import NOW

REF = Ref("default", "phase2")
MODEL = "model.sigeti.fait_implantations"


def row(number, state="ok", seconds=2.0, **changes):
    fields = {
        "run": f"phase2-{number}",
        "outcome": "Succeeded",
        "started_at": NOW - timedelta(hours=number),
        "revision": None,
        "project": None,
    }
    fields |= {"node": "fait_implantations", "step": "facts", "state": state, "seconds": seconds, "sqlstate": None, "message": None}
    return NodeRunRow(**{**fields, "rows": None, "parents": None, **changes})


def detail(*runs, rows=None, statement=None, refresh=None, project=None):
    return node_detail(REF, MODEL, refresh, runs, rows or NodeRows(), project, compiled_of("phase2-1", statement))


def described(*exposures):
    """Return a project with a fact that has a test, and a mart that reads the fact."""
    fact: dict[str, Any] = {
        "unique_id": MODEL,
        "name": "fait_implantations",
        "description": "One line\nfor each plot.",
        "relation": "dwh_facts.fait",
    }
    fact |= {"columns": [{"name": "zone_id", "type": "integer", "description": "The zone."}], "reads": ["source.sigeti.raw.a"]}
    mart = {"unique_id": "model.sigeti.mart_a", "name": "mart_a", "reads": [MODEL]}
    test = {"unique_id": "test.sigeti.unique_fait.1", "name": "unique_fait", "reads": [MODEL]}
    source = {"unique_id": "source.sigeti.raw.a", "name": "a"}
    found = project_of(json.dumps({"nodes": [fact, mart, test, source], "exposures": list(exposures), "newer": 1}).encode())
    assert found
    return found


def html(found, language="en"):
    return " ".join(Templates("").render("node.html", Locale(language, NOW), "", detail=found, unreachable_since=None).split())


def test_the_usual_duration_is_that_of_runs_that_built_the_node():
    """A failed run ends early, and one that reused the result took no time."""
    found = detail(row(1, "broken", 0.1), row(2, "reused", 0.0), row(3, "ok", 4.0), row(4, "warned", 6.0), row(5, "ok", None))
    assert (found.usual_seconds, found.reused, [each.state for each in found.runs][:2]) == (5.0, 1, ["broken", "reused"])
    assert detail(row(1, "broken")).usual_seconds is None


def test_the_title_is_that_of_the_refresh_while_it_exists():
    """A link to a node works after its refresh was deleted."""
    refresh = refresh_of(build_refresh("phase2", NOW, spec={"displayName": "Phase 2"}))
    assert (detail(row(1)).title, detail(row(1), refresh=refresh).title, detail(row(1)).kind) == ("phase2", "Phase 2", "model")


def test_it_says_what_the_node_reads_and_what_reads_it():
    """A source is not built by the run, so only its ID is known. A damaged row has no list of texts."""
    neighbours = (
        NeighbourRow("model.sigeti.mart_a", "mart_a", "ok", True),
        NeighbourRow("model.sigeti.stg_a", "stg_a", "failed", False),
    )
    read = ["source.sigeti.raw.a", "model.sigeti.stg_a", 7]
    found = detail(row(1, parents=read), row(2, parents=["model.sigeti.old"]), rows=NodeRows(neighbours))
    assert [(each.id, each.name, each.state) for each in found.reads] == [
        ("source.sigeti.raw.a", "raw.a", None),
        ("model.sigeti.stg_a", "stg_a", "failed"),
    ]
    assert [each.name for each in found.readers] == ["mart_a"]
    for damaged in ({"a": 1}, "text", None):
        assert detail(row(1, parents=damaged)).reads == ()


@pytest.mark.parametrize(
    ("states", "wanted", "expected"),
    [
        (("ok", "ok"), "", "phase2-1"),
        (("reused", "skipped", "failed"), "", "phase2-3"),
        (("reused", "skipped"), "", "phase2-1"),
        (("ok", "ok"), "phase2-2", "phase2-2"),
        (("ok", "ok"), "older-7", "older-7"),
    ],
)
def test_the_sql_is_of_the_last_run_that_executed_the_node(states, wanted, expected):
    """Unless the address names another run: a run that reused an earlier result has compiled nothing."""
    assert run_with_sql([row(number, state) for number, state in enumerate(states, 1)], wanted) == expected


def test_the_sql_is_found_by_the_id_of_the_node():
    """dbt leaves out the SQL of nodes that it did not compile, and the runner that of very large results."""
    results = [
        {"unique_id": MODEL, "compiled_code": "select 1", "status": "success"},
        {"unique_id": "model.sigeti.b", "compiled_code": None},
    ]
    content = json.dumps({"metadata": {}, "results": results}).encode()
    assert compiled_sql(content, MODEL) == Statement("select 1", is_cut=False)
    assert [compiled_sql(content, id_) for id_ in ("model.sigeti.b", "model.sigeti.c", "")] == [None] * 3


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"null", b'{"results": 7}', b'{"results": [{"unique_id": 1}]}', b"\xff"])
def test_damaged_results_have_no_sql(content):
    """A page must not fail for a file that somebody has changed."""
    assert compiled_sql(content, MODEL) is None


@pytest.mark.parametrize(("length", "is_cut"), [(MAX_SQL, False), (MAX_SQL + 1, True)])
def test_a_very_long_statement_is_cut(length, is_cut):
    """Compiled SQL can have megabytes; the page says that it goes on, and where."""
    content = json.dumps({"results": [{"unique_id": MODEL, "compiled_code": "x" * length}]}).encode()
    found = compiled_sql(content, MODEL)
    assert found == Statement("x" * MAX_SQL, is_cut)
    shown = html(detail(row(1), statement=found))
    assert ("runs/phase2-1/artifacts/run_results.json" in shown) is is_cut
    assert "x" * MAX_SQL in shown


def test_sql_that_is_not_kept_is_not_invented():
    """The control is SQL that is kept."""
    assert "The run log has not kept it" in html(detail(row(1)))
    unknown = compiled_of("phase2-1", None, RunLogState.UNAVAILABLE)
    busy = html(detail(row(1)).model_copy(update={"compiled": unknown}))
    assert "The run log has not kept it" not in busy
    assert "This cannot be shown right now" in busy
    shown = html(detail(row(1), statement=Statement("select '<b>'", is_cut=False)))
    assert "The run log has not kept it" not in shown
    assert "select &#39;&lt;b&gt;&#39;" in shown


def test_the_address_of_a_node_is_quoted():
    """dbt allows any characters in the name of a test."""
    neighbour = NeighbourRow('test.p.a/b?c#"<x>', "odd", "ok", True)
    shown = html(detail(row(1), rows=NodeRows((neighbour,))))
    assert "/refreshes/default/phase2/nodes/test.p.a%2Fb%3Fc%23%22%3Cx%3E" in shown


def test_the_plot_says_in_words_what_it_shows():
    """Each bar has a tooltip with run, state and duration, and leads to its run."""
    shown = html(detail(row(1, "failed", 1.0), row(2)), "fr")
    assert 'aria-label="phase2-1: échec, 1,0 s"' in shown
    assert shown.count('href="/refreshes/default/phase2/runs/phase2-2"') == 2


def test_the_project_says_what_the_run_log_does_not():
    """Documentation, tests, and what was not built. Without its description, the run log alone says what it reads."""
    project, last = described(), row(1, parents=["model.sigeti.stg_a"])
    assert neighbours_of(MODEL, last, None) == ("model.sigeti.stg_a",)
    assert neighbours_of(MODEL, last, project) == ("source.sigeti.raw.a", "model.sigeti.mart_a", "test.sigeti.unique_fait.1")
    neighbours = (NeighbourRow("test.sigeti.unique_fait.1", "unique_fait", "failed", False),)
    found = detail(last, rows=NodeRows(neighbours), project=project)
    assert (found.description, found.relation, found.is_described) == ("One line\nfor each plot.", "dwh_facts.fait", True)
    assert [(each.name, each.type, each.description) for each in found.columns] == [("zone_id", "integer", "The zone.")]
    assert [(each.name, each.state) for each in found.reads] == [("a", None)]
    assert [(each.name, each.state) for each in found.readers] == [("mart_a", None)]
    assert [(each.name, each.state) for each in found.tests] == [("unique_fait", "failed")]
    other = node_detail(REF, "model.sigeti.later", None, [last], NodeRows(), project, compiled_of("phase2-1", None))
    assert (other.is_described, [each.name for each in other.reads]) == (False, ["stg_a"])


def test_a_mart_has_the_rows_and_the_verdict_of_its_validation():
    """Another node has the rows that dbt has written, if it knows them."""
    marts = (NodeMartRow("phase2-1", 4521, "WARNING"),)
    found = detail(row(1, rows=4000), row(2, rows=3999), row(3), rows=NodeRows(marts=marts))
    assert [(each.rows, each.verdict) for each in found.runs] == [(4521, "WARNING"), (3999, None), (None, None)]
    assert "4,521" in html(found)
    assert '<th scope="col">Verdict</th>' in html(found)
    assert '<th scope="col">Verdict</th>' not in html(detail(row(1)))


def test_the_page_says_who_is_affected():
    """With the owner; an address that is not of the web becomes no link. Without a description nobody can be named, which it says."""
    board: dict[str, Any] = {
        "unique_id": "exposure.p.board",
        "name": "Board",
        "type": "dashboard",
        "owner": "Awa",
        "email": "awa@example.org",
    }
    board |= {"reads": ["model.sigeti.mart_a"], "url": "https://example.org/board"}
    evil = {**board, "unique_id": "exposure.p.evil", "name": "Evil", "url": "javascript:alert(1)", "owner": None, "email": None}
    other = {**board, "unique_id": "exposure.p.other", "name": "Other", "reads": ["source.sigeti.raw.a"]}
    found = detail(row(1), project=described(board, evil, other))
    assert [(each.name, each.owner, each.url) for each in found.affected] == [
        ("Board", "Awa", "https://example.org/board"),
        ("Evil", None, None),
    ]
    shown = html(found)
    assert 'href="https://example.org/board"' in shown
    assert "owner: Awa, awa@example.org" in shown
    assert "javascript" not in shown
    assert "has no description of the dbt project" in html(detail(row(1)))
    assert "No exposure of the dbt project depends on it" in html(detail(row(1), project=described()))


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"nodes": [{"unique_id": 7}]}', b'{"exposures": {}}'])
def test_a_damaged_description_is_none(content):
    """The page then shows what the run log knows."""
    assert project_of(content) is None
