"""The graph of a run: what each model reads, and where it is drawn."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from refresh_page.i18n.locale import Locale
from refresh_page.kube.models import Ref
from refresh_page.runlog.models import NodeRow, RunLogState, RunRow, RunRows
from refresh_page.views.graph import MAX_DRAWN, Graph, graph_of
from refresh_page.views.run import run_view
from refresh_page.web.svg import BOX_HEIGHT, BOX_WIDTH, graph_drawing
from refresh_page.web.templates import Templates
from support.run_log import PARENTS
from support.snapshots import NOW

HOSTILE = "<script>alert(1)</script>\"'>\u202e"
REAL = {f"model.sigeti.{name}": parents for name, parents in PARENTS.items()}


def rows(parents: Any, state: str = "ok") -> tuple[NodeRow, ...]:
    """Return a row of the run log for each model and what it reads."""
    return tuple(NodeRow(id_, id_.split(".", 2)[-1], "staging", state, 1.5, None, None, NOW, read) for id_, read in parents.items())


def graph(parents: Any) -> Graph:
    found = graph_of(rows({id_: list(read) for id_, read in parents.items()}))
    assert found
    return found


def page(parents: Any, state: str = "ok", language: str = "en") -> str:
    """Return the page of a run with these models."""
    start = NOW - timedelta(seconds=60)
    run = RunRow("phase2-1", "refresh", 1, 3, None, "Finished", "Succeeded", "Succeeded", None, None, start, NOW, NOW)
    found = RunRows(run, nodes=rows({id_: list(read) for id_, read in parents.items()}, state))
    view = run_view(Ref("default", "phase2"), "phase2-1", None, found, RunLogState.AVAILABLE, NOW, {})
    return " ".join(Templates("").render("run.html", Locale(language, NOW), "", view=view, unreachable_since=None).split())


def test_a_node_is_right_of_everything_that_it_reads():
    """Otherwise the curves would run backwards. A source stands right before its first reader, and no two nodes on one place."""
    found = {node.id: node for node in graph(REAL).nodes}
    for node in found.values():
        assert all(found[each].column < node.column for each in node.parents)
    assert found["model.sigeti.mart_indemnisations"].column == 3
    assert (found["source.sigeti.sigeti.factures"].column, found["seed.sigeti.zones"].column) == (0, 1)
    assert (found["seed.sigeti.zones"].state, found["seed.sigeti.zones"].kind, found["seed.sigeti.zones"].name) == (None, "seed", "zones")


def test_no_edge_passes_through_a_box():
    """It would look like an edge of that box. Nodes and lanes of a column have rows of their own, without gaps."""
    chance = Random(7)
    dense = {f"model.p.{number}": [f"model.p.{chance.randrange(number)}" for _ in range(chance.randrange(4))] for number in range(1, 120)}
    for parents in (REAL, {"m.p.b": ["s.p.a"], "m.p.c": ["m.p.b", "s.p.a"], "m.p.d": ["m.p.c", "s.p.a"]}, dense):
        found = graph(parents)
        assert found.is_drawn
        rows_of: dict[int, list[int]] = defaultdict(list)
        for node in found.nodes:
            for step, row in enumerate((node.row, *node.lanes)):
                rows_of[node.column + step].append(row)
        assert all(sorted(used) == list(range(len(used))) for used in rows_of.values())
        drawing = graph_drawing(found)
        passing = [(float(x), float(y)) for x, y in re.findall(r"M(\S+) (\S+)H", drawing.edges)]
        assert bool(passing) == (parents is not REAL)
        assert not any(box.x == x and box.y <= y <= box.y + BOX_HEIGHT for box in drawing.boxes for x, y in passing)


def test_chains_beside_each_other_do_not_cross():
    """Nodes follow what they read: by name alone, these two would cross twice."""
    found = {node.id: node.row for node in graph({"b.p.x": ["a.p.1"], "a.p.y": ["a.p.2"], "c.p.x": ["b.p.x"], "b.p.y": ["a.p.y"]}).nodes}
    assert found["a.p.1"] == found["b.p.x"] == found["c.p.x"]
    assert found["a.p.2"] == found["a.p.y"] == found["b.p.y"]


def test_boxes_do_not_overlap_and_each_edge_joins_two():
    """On the server nobody sees the picture, so its numbers are checked."""
    drawing = graph_drawing(graph(REAL))
    boxes = drawing.boxes
    for number, one in enumerate(boxes):
        assert 0 <= one.x <= drawing.width - BOX_WIDTH
        assert 0 <= one.y <= drawing.height - BOX_HEIGHT
        assert all(abs(one.x - other.x) >= BOX_WIDTH or abs(one.y - other.y) >= BOX_HEIGHT for other in boxes[number + 1 :])
    ends = {(box.x + BOX_WIDTH, box.y + BOX_HEIGHT / 2) for box in boxes}, {(box.x, box.y + BOX_HEIGHT / 2) for box in boxes}
    edges = re.findall(r"M(\S+) (\S+)C\S+ \S+ \S+ \S+ ([\d.]+) ([\d.]+)", drawing.edges)
    assert len(edges) == sum(map(len, REAL.values()))
    assert all((float(x), float(y)) in ends[0] and (float(to_x), float(to_y)) in ends[1] for x, y, to_x, to_y in edges)


def test_a_run_log_without_parents_has_no_graph():
    """As of an older runner, and of a run that built nothing."""
    assert graph_of(rows({"model.p.a": None})) is None
    assert graph_of(()) is None
    assert 'id="graph"' not in page({})


@pytest.mark.parametrize("parents", [{"a": 1}, "model.p.b", 7, True])
def test_a_damaged_row_is_left_out(parents: object):
    """The warehouse is not the page's own, so a row may have any JSON."""
    found = graph_of(rows({"model.p.a": parents, "model.p.b": ["model.p.c", 5, None, {"x": 1}, "model.p.c"]}))
    assert found
    assert [(node.id, node.parents) for node in found.nodes] == [("model.p.c", ()), ("model.p.b", ("model.p.c",))]


@pytest.mark.parametrize("parents", [{"m.p.a": ["m.p.a"]}, {"m.p.a": ["m.p.b"], "m.p.b": ["m.p.c"], "m.p.c": ["m.p.a"]}])
def test_a_circle_is_listed_and_not_drawn(parents: Any):
    """dbt has none, but the page must not search for its end."""
    found = graph(parents)
    assert (found.is_drawn, len(found.nodes)) == (False, len(parents))


@pytest.mark.parametrize(("count", "is_drawn"), [(MAX_DRAWN - 1, True), (MAX_DRAWN, False), (2000, False)])
def test_a_large_graph_is_listed_and_not_drawn(count: int, is_drawn: bool):
    """The table has every node all the same, and says what it reads."""
    parents = {f"model.p.m{number:04}": ["source.p.raw.a"] for number in range(count)}
    assert graph(parents).is_drawn == is_drawn
    text = page(parents)
    assert text.count('<tr id="node-') == count + 1
    assert ('<svg class="graph"' in text) == is_drawn
    assert (f"A graph of {count + 1:,} nodes is not drawn; the table has it." in text) == (not is_drawn)


def test_each_box_leads_to_its_row_and_says_all_in_words():
    """Name, state and time, for those who hear the page; the table has what each node reads."""
    text = page({"model.p.stg": ["source.p.raw.a"], "model.p.mart": ["model.p.stg", "seed.p.zones"]}, "broken")
    boxes = {id_: re.sub("<[^>]*>", "", content) for id_, content in re.findall(r'<a href="#(node-\d+)">(.*?)</a>', text)}
    assert boxes == {
        "node-1": "raw.a source",
        "node-2": "stg ✗ broken · 1.5 s",
        "node-3": "zones not built by this run",
        "node-4": "mart ✗ broken · 1.5 s",
    }
    link = '<a href="/refreshes/default/phase2/nodes/model.p.mart"><bdi>mart</bdi></a>'
    assert f'<tr id="node-4"><th scope="row">{link}</th><td><code>model</code></td>' in text
    assert "<td><bdi>stg</bdi>, <bdi>zones</bdi></td>" in text
    french = page({"model.p.stg": ["seed.p.zones"]}, language="fr")
    assert "✓ réussi · 1,5 s</text>" in french
    assert "Les modèles et ce qu&#39;ils lisent" in french


def test_hostile_names_are_text():
    """Names come from a project that the page does not know."""
    text = page({f"model.p.{HOSTILE}": [f"source.p.{HOSTILE}"]})
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "\u202e" not in text
