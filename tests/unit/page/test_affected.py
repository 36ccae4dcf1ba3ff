"""Who is affected by nodes: the exposures that depend on them."""

import json

import pytest

from refresh_page.runlog.project import project_of
from refresh_page.views.affected import SHOWN, affected_by, outdated

READS = {
    "model.p.stg": ["source.p.raw.a"],
    "model.p.fact": ["model.p.stg"],
    "model.p.mart": ["model.p.fact"],
    "model.p.alone": [],
    "test.p.unique_fact.1": ["model.p.fact"],
    "unit_test.p.mart.one": ["model.p.mart"],
}
EXPOSURES = {"board": ["model.p.mart"], "wiki": ["model.p.alone"], "export": ["model.p.stg", "model.p.alone"]}


def project(reads=READS, exposures=EXPOSURES):
    nodes = [{"unique_id": id_, "name": id_.split(".", 2)[-1], "reads": found} for id_, found in reads.items()]
    texts = [{"unique_id": f"exposure.p.{name}", "name": name, "type": "dashboard", "reads": found} for name, found in exposures.items()]
    return project_of(json.dumps({"nodes": nodes, "exposures": texts}).encode())


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["model.p.stg"], ["board", "export"]),
        (["model.p.fact"], ["board"]),
        (["model.p.alone"], ["export", "wiki"]),
        (["source.p.raw.a"], ["board", "export"]),
        (["test.p.unique_fact.1"], ["board"]),
        (["unit_test.p.mart.one"], ["board"]),
        (["model.p.unknown", "test.p.unknown.1"], []),
        ([], []),
    ],
)
def test_an_exposure_is_affected_by_all_upstream_of_it(ids, names):
    """A failed test puts its models in doubt, and so whatever reads them."""
    assert [each.name for each in affected_by(project(), ids)] == names


def test_it_is_said_which_of_the_nodes_affect_it():
    """Somebody who owns one dashboard wants to know why."""
    found = affected_by(project(), ["model.p.stg", "model.p.alone", "test.p.unique_fact.1"])
    assert {each.name: each.causes for each in found} == {
        "board": ("stg", "unique_fact.1"),
        "export": ("alone", "stg"),
        "wiki": ("alone",),
    }


def test_nodes_that_read_each_other_in_a_circle_do_not_hang():
    """dbt allows none, but somebody may have changed the rows."""
    found = project({"model.p.a": ["model.p.b"], "model.p.b": ["model.p.a"]}, {"board": ["model.p.b"]})
    assert [each.causes for each in affected_by(found, ["model.p.a"])] == [("a",)]


def test_a_long_list_is_cut():
    """A page must stay small."""
    many = {f"board {number:03}": ["model.p.mart"] for number in range(SHOWN + 7)}
    assert len(affected_by(project(exposures=many), ["model.p.mart"])) == SHOWN


def test_without_a_description_nobody_is_known():
    """The page then says nothing."""
    assert affected_by(None, ["model.p.mart"]) == ()


@pytest.mark.parametrize(
    ("states", "ids"),
    [
        ({"model.p.a": "ok", "model.p.b": "broken", "test.p.c": "failed", "model.p.d": "skipped"}, ("model.p.b", "test.p.c")),
        ({"model.p.a": "ok", "model.p.b": "reused", "test.p.c": "ok"}, ("model.p.a", "model.p.b")),
        ({}, ()),
    ],
)
def test_data_are_outdated_because_nodes_failed_or_because_no_run_came(states, ids):
    """If nothing failed, all that the last run built is too old. What dbt skipped is a consequence of what failed."""
    assert outdated(states) == ids
