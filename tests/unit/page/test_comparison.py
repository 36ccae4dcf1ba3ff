"""The comparison of two runs."""

from datetime import timedelta

import pytest

from refresh_page.i18n.locale import Locale
from refresh_page.kube.models import Ref
from refresh_page.runlog.comparison_models import PAIRS_READ, ComparedRunRow, ComparisonRows, MartPairRow, NodePairRow
from refresh_page.views.comparison import SHOWN, comparison_of
from refresh_page.web.templates import Templates
from support.snapshots import NOW

REF = Ref("default", "phase2")


def run(name="phase2-1", **changes):
    fields = {"run": name, "mode": "refresh", "outcome": "Succeeded", "generation": 3, "marts": "4/4", "started_at": NOW}
    fields |= {"ended_at": NOW + timedelta(seconds=47), "variables": None, "project": "aaaa", "revision": "main@sha1:" + "1a" * 20}
    return ComparedRunRow(**{**fields, **changes})


def pair(name, before="ok", after="ok", took=2.0, takes=2.0):
    return NodePairRow(f"model.p.{name}", name, before, after, took if before else None, takes if after else None)


def compared(*nodes, before=None, after=None, marts=()):
    return comparison_of(REF, None, ComparisonRows(before or run(), after or run("phase2-2"), nodes, tuple(marts)))


def html(found, language="en"):
    values = {"comparison": found, "runs": ["phase2-2", "phase2-1"], "unreachable_since": None}
    return " ".join(Templates("").render("compare.html", Locale(language, NOW), "", **values).split())


def test_each_difference_has_its_list():
    """A node can be in several: one that warns now and takes longer has two differences, and counts once."""
    found = compared(
        pair("same"),
        pair("new", before=None),
        pair("gone", after=None),
        pair("repaired", before="broken"),
        pair("broken", after="failed"),
        pair("slow", after="warned", takes=20.0),
        pair("fast", took=20.0),
        pair("reused", after="reused", takes=0.0),
    )
    names = {name: [each.node for each in getattr(found, name).nodes] for name in ("added", "removed", "changed", "slower", "faster")}
    assert names == {
        "added": ["new"],
        "removed": ["gone"],
        "changed": ["broken", "slow", "repaired", "reused"],
        "slower": ["slow"],
        "faster": ["fast"],
    }
    assert (found.alike, found.is_complete) == (1, True)


@pytest.mark.parametrize(
    ("took", "takes", "slower"),
    [
        (10.0, 20.0, False),
        (10.0, 20.1, True),
        (4.0, 9.0, False),
        (4.0, 9.1, True),
        (1.0, 6.0, False),
        (1.0, 6.1, True),
        (0.0, 5.0, False),
        (None, 99.0, False),
        (1.0, None, False),
    ],
)
def test_much_slower_means_twice_as_long_and_five_seconds(took, takes, slower):
    """A model of a tenth of a second takes twice as long by chance. The reverse is much faster."""
    assert bool(compared(pair("a", took=took, takes=takes)).slower.count) is slower
    assert bool(compared(pair("a", took=takes, takes=took)).faster.count) is slower


@pytest.mark.parametrize("state", ["broken", "failed", "reused", "skipped"])
def test_only_what_both_runs_built_can_be_slower(state):
    """A model that fails at once is not fast."""
    found = compared(pair("a", before=state, took=0.1, takes=30.0), pair("b", after=state, took=30.0, takes=0.1))
    assert (found.slower.count, found.faster.count, found.changed.count) == (0, 0, 2)


def test_settings_that_differ_are_named():
    """The control is a run compared with one of the same settings."""
    other = {"mode": "from=marts", "generation": 4, "project": "bbbb", "revision": None, "outcome": "Failed"}
    found = compared(after=run("phase2-2", **other))
    assert {each.setting.value: (each.before, each.after) for each in found.settings} == {
        "mode": ("refresh", "from=marts"),
        "generation": ("3", "4"),
        "project": ("aaaa", "bbbb"),
        "revision": ("main@sha1:" + "1a" * 20, None),
    }
    assert compared().settings == ()


def test_values_of_variables_are_never_shown():
    """They may be secret. Their names are, if the values differ or one run lacks them."""
    old = {"same": "7411", "other": "secret-1", "gone": "secret-2", "null": None}
    new = {"same": "7411", "other": "secret-3", "new": "secret-4"}
    found = compared(before=run(variables=old), after=run("phase2-2", variables=new))
    assert found.variables == ("gone", "new", "null", "other")
    shown = html(found)
    assert "<code>other</code>" in shown
    assert "secret-" not in shown + found.model_dump_json()
    for damaged in ([1], "text", 7):
        assert compared(before=run(variables=damaged)).variables == ()


def test_marts_have_their_rows_before_and_after():
    """The difference is known only if both runs have counted."""
    counted = MartPairRow("m.a", "VALID", "WARNING", 4000, 3990)
    found = compared(marts=[counted, MartPairRow("m.b", None, "VALID", None, 7), MartPairRow("m.c", "VALID", None, 7, None)])
    assert [each.difference for each in found.marts] == [-10, None, None]
    shown = html(found)
    assert '<td class="number">4,000</td><td class="number">3,990</td> <td class="number">-10</td>' in shown


def test_long_lists_are_cut_and_counted():
    """And a comparison that is not complete says so: a node could be missing from one side only."""
    nodes = [pair(f"m{number:05}", before=None) for number in range(SHOWN + 7)]
    found = compared(*nodes)
    assert (found.added.count, len(found.added.nodes)) == (SHOWN + 7, SHOWN)
    assert "and 7 more" in html(found)
    assert "Not all models and tests" not in html(found)
    many = compared(*(pair("a") for _ in range(PAIRS_READ)))
    assert not many.is_complete
    assert "Not all models and tests" in html(many)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_runs_are_chosen_by_a_form_without_scripts(language):
    """Also runs that are too old for the list."""
    shown = html(compared(before=run('old"<x>')), language)
    assert '<form id="choose" class="search" action="/refreshes/default/phase2/compare">' in shown
    assert '<option value="old&#34;&lt;x&gt;" selected>' in shown
    assert '<option value="phase2-2" selected>phase2-2</option>' in shown
    assert "compare.json?before=old%22%3Cx%3E&amp;after=phase2-2" in shown
