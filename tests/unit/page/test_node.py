"""The page of a node, from the run log."""

import json
from datetime import timedelta

import pytest

from refresh_page.i18n.locale import Locale
from refresh_page.kube.models import Ref, refresh_of
from refresh_page.runlog.node_models import NeighbourRow, NodeRows, NodeRunRow
from refresh_page.runlog.run_results import MAX_SQL, Statement, compiled_sql
from refresh_page.views.node import node_detail, run_with_sql
from refresh_page.web.templates import Templates
from support.page_refreshes import build_refresh
from support.snapshots import NOW

REF = Ref("default", "phase2")
MODEL = "model.sigeti.fait_implantations"


def row(number, state="ok", seconds=2.0, **changes):
    fields = {"run": f"phase2-{number}", "outcome": "Succeeded", "started_at": NOW - timedelta(hours=number), "revision": None}
    fields |= {"node": "fait_implantations", "step": "facts", "state": state, "seconds": seconds, "sqlstate": None, "message": None}
    return NodeRunRow(**{**fields, "parents": None, **changes})


def detail(rows, statement=None, run="phase2-1", refresh=None):
    return node_detail(REF, MODEL, refresh, rows, run, statement)


def html(found, language="en"):
    return " ".join(Templates("").render("node.html", Locale(language, NOW), "", detail=found, unreachable_since=None).split())


def test_the_usual_duration_is_that_of_runs_that_built_the_node():
    """A failed run ends early, and one that reused the result took no time."""
    found = detail(NodeRows((row(1, "broken", 0.1), row(2, "reused", 0.0), row(3, "ok", 4.0), row(4, "warned", 6.0), row(5, "ok", None))))
    assert (found.usual_seconds, found.reused, [each.state for each in found.runs][:2]) == (5.0, 1, ["broken", "reused"])
    assert detail(NodeRows((row(1, "broken"),))).usual_seconds is None


def test_the_title_is_that_of_the_refresh_while_it_exists():
    """A link to a node works after its refresh was deleted."""
    rows = NodeRows((row(1),))
    refresh = refresh_of(build_refresh("phase2", NOW, spec={"displayName": "Phase 2"}))
    assert (detail(rows).title, detail(rows, refresh=refresh).title, detail(rows).kind) == ("phase2", "Phase 2", "model")


def test_it_says_what_the_node_reads_and_what_reads_it():
    """A source is not built by the run, so only its ID is known. A damaged row has no list of texts."""
    neighbours = (
        NeighbourRow("model.sigeti.mart_a", "mart_a", "ok", True),
        NeighbourRow("model.sigeti.stg_a", "stg_a", "failed", False),
    )
    read = ["source.sigeti.raw.a", "model.sigeti.stg_a", 7]
    found = detail(NodeRows((row(1, parents=read), row(2, parents=["model.sigeti.old"])), neighbours))
    assert [(each.id, each.name, each.state) for each in found.reads] == [
        ("source.sigeti.raw.a", "raw.a", None),
        ("model.sigeti.stg_a", "stg_a", "failed"),
    ]
    assert [each.name for each in found.read_by] == ["mart_a"]
    for damaged in ({"a": 1}, "text", None):
        assert detail(NodeRows((row(1, parents=damaged),))).reads == ()


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
    rows = NodeRows(tuple(row(number, state) for number, state in enumerate(states, 1)))
    assert run_with_sql(rows, wanted) == expected


def test_the_sql_is_found_by_the_id_of_the_node():
    """dbt leaves out the SQL of nodes that it did not compile, and the runner that of very large results."""
    results = [{"unique_id": MODEL, "compiled_code": "select 1", "status": "success"}, {"unique_id": "model.sigeti.b", "compiled_code": None}]
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
    shown = html(detail(NodeRows((row(1),)), found))
    assert ("runs/phase2-1/artifacts/run_results.json" in shown) is is_cut
    assert "x" * MAX_SQL in shown


def test_sql_that_is_not_kept_is_not_invented():
    """The control is SQL that is kept."""
    rows = NodeRows((row(1),))
    assert "The run log has not kept it" in html(detail(rows))
    shown = html(detail(rows, Statement("select '<b>'", is_cut=False)))
    assert "The run log has not kept it" not in shown
    assert "select &#39;&lt;b&gt;&#39;" in shown


def test_the_address_of_a_node_is_quoted():
    """dbt allows any characters in the name of a test."""
    neighbour = NeighbourRow('test.p.a/b?c#"<x>', "odd", "ok", True)
    shown = html(detail(NodeRows((row(1),), (neighbour,))))
    assert "/refreshes/default/phase2/nodes/test.p.a%2Fb%3Fc%23%22%3Cx%3E" in shown


def test_the_plot_says_in_words_what_it_shows():
    """Each bar has a tooltip with run, state and duration, and leads to its run."""
    shown = html(detail(NodeRows((row(1, "failed", 1.0), row(2)))), "fr")
    assert 'aria-label="phase2-1: échec, 1,0 s"' in shown
    assert shown.count('href="/refreshes/default/phase2/runs/phase2-2"') == 2
