"""The results of the tests of a refresh over its last runs."""

from datetime import timedelta

import pytest

from refresh_page.i18n.locale import Locale
from refresh_page.kube.models import Ref
from refresh_page.runlog.verdict_models import TESTS_READ, VerdictRow, VerdictRows, VerdictRunRow
from refresh_page.views.overview_query import OverviewQuery
from refresh_page.views.verdicts import verdicts_of
from refresh_page.web.svg import verdict_marks
from refresh_page.web.templates import Templates
from support.snapshots import NOW

RUNS = tuple(VerdictRunRow(f"phase2-{number}", NOW - timedelta(hours=number)) for number in (1, 2, 3, 4))


def row(name, **states):
    """Build a test with its state by run, for example `r1="ok"`."""
    return VerdictRow(f"test.p.{name}", name, [f"phase2-{run[1:]}" for run in states], list(states.values()))


def shown(*tests, search=""):
    return verdicts_of(Ref("default", "phase2"), None, VerdictRows(RUNS, tests), search)


def html(found, language="en"):
    values = {"shown": found, "lines": found.tests, "search": "", "query": OverviewQuery(), "page": 1, "last": 1, "unreachable_since": None}
    return " ".join(Templates("").render("tests.html", Locale(language, NOW), "", **values).split())


def test_each_run_has_its_place_whatever_order_the_database_returns():
    """A run that did not execute a test leaves a gap: it may have failed before its tests."""
    (found,) = shown(row("a", r3="failed", r1="ok", r4="warned")).tests
    assert found.states == ("warned", "failed", None, "ok")
    assert (found.failed, found.warned, found.missing, found.last_state, found.last_bad_run) == (1, 1, 1, "ok", "phase2-3")


def test_the_last_result_is_that_of_the_last_run_that_executed_the_test():
    """A test that failed before a run without tests still fails."""
    found = shown(row("a", r2="broken", r3="ok"), row("b", r1="ok"))
    assert [(each.test, each.last_state) for each in found.tests] == [("a", "broken"), ("b", "ok")]
    assert (found.failing, found.total) == (1, 2)


def test_tests_that_fail_come_first():
    """Then those that warn, then those that failed most often."""
    found = shown(
        row("good", r1="ok"),
        row("flaky", r1="ok", r2="failed", r3="failed"),
        row("rare", r1="ok", r2="failed"),
        row("warns", r1="warned"),
        row("fails", r1="failed"),
        row("broken", r1="broken"),
    )
    assert [each.test for each in found.tests] == ["broken", "fails", "warns", "flaky", "rare", "good"]


def test_a_search_hides_tests_but_not_that_one_fails():
    """The headline counts all tests, as on the first page."""
    found = shown(row("unique_id", r1="failed"), row("not_null_id", r1="ok"), search="NOT id")
    assert ([each.test for each in found.tests], found.failing, found.total) == (["not_null_id"], 1, 2)
    assert "1 of 2 tests fails" in html(found)


def test_the_strip_says_in_words_what_it_shows():
    """And its marks differ in height, not only in colour. One that was reused has passed."""
    shape = html(shown(row("a", r3="failed", r1="reused", r4="warned")))
    label = "1 failed, 1 warned, 1 not executed, of 4 runs"
    assert f'<svg class="strip" role="img" aria-label="{label}"' in shape
    assert f"<title>{label}</title>" in shape
    assert '<path class="warn" d="M0 7h5v14h-5z"/>' in shape
    assert '<path class="bad" d="M6 1h5v20h-5z"/>' in shape
    assert '<path class="good" d="M18 13h5v8h-5z"/>' in shape
    assert "échecs : 1, avertissements : 0" in html(shown(row("a", r3="failed")), "fr")


@pytest.mark.parametrize(("tones", "width", "paths"), [((), 6, 0), ((None, None), 12, 0), (("good", "good", "bad", "odd"), 24, 3)])
def test_a_strip_has_one_path_for_each_tone(tones, width, paths):
    """A page of a hundred tests over thirty runs stays small."""
    found = verdict_marks(tones)
    assert (found.width, len(found.paths)) == (width, paths)


def test_more_tests_than_are_read_are_not_hidden_silently():
    """The control is one test less."""
    many = [row(f"t{number}", r1="ok") for number in range(TESTS_READ)]
    assert (shown(*many).is_complete, shown(*many[1:]).is_complete) == (False, True)


def test_without_tests_none_is_said_to_pass():
    """A refresh may have no step `tests`."""
    assert "No test was executed in the last runs" in html(shown())
