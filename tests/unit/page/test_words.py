"""The page's texts, in both languages."""

import re
from datetime import timedelta
from pathlib import Path
from string import Formatter

import pytest

import refresh_page
from refresh_api.plain import plain
from refresh_api.status import MissedReason, Outcome, StepState, Trigger, Verdict
from refresh_page.i18n.french import FRENCH
from refresh_page.i18n.words import Locale, language_of
from refresh_page.views.conditions import _SENTENCES
from refresh_runner.model.step_results import NodeState
from support.worlds import NOW

TEMPLATES = Path(refresh_page.__file__).parent / "templates"
ENUMS = (Outcome, StepState, Verdict, Trigger, MissedReason, NodeState)


def used():
    """Every text that the templates and the words themselves ask for."""
    text = "\n".join(path.read_text() for path in TEMPLATES.glob("*.html"))
    found = {match[2] for match in re.finditer(r"""\b_\(\s*(["'])((?:(?!\1).)*)\1""", text)}
    found |= {"{time} ago", "in {time}", *_SENTENCES.values()}
    return found | {str(each.value) for enum in ENUMS for each in enum}


def test_every_text_of_the_page_is_there_in_french():
    """And none that the page does not have."""
    assert used() - FRENCH.keys() == set()
    assert FRENCH.keys() - used() == set()


def test_a_translation_takes_the_same_values():
    """Or a page would not be made."""

    def names(text):
        return sorted(name for _, name, _, _ in Formatter().parse(text) if name)

    assert {english: french for english, french in FRENCH.items() if names(english) != names(french)} == {}


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("fr", "fr"), ("fr-CA,en;q=0.5", "fr"), ("en,fr;q=0.9", "en"), ("de,fr;q=0.3", "fr"), ("fr;q=0", "en"), ("*;q=x", "en")],
)
def test_the_language_is_the_one_that_the_browser_likes_best(header, language):
    """English where it says nothing that we speak."""
    assert language_of(header) == language


def test_times_and_numbers_are_read_as_the_reader_does():
    """Short, with the language's own signs."""
    english, french = Locale("en", NOW), Locale("fr", NOW)
    assert (english.distance(NOW - timedelta(minutes=5)), french.distance(NOW + timedelta(days=2))) == ("5 min ago", "dans 2 j")
    assert (english.number(12345), french.number(12345)) == ("12,345", "12\u202f345")
    assert [english.seconds(each) for each in (0.42, 12, 200, 3900)] == ["0.4 s", "12 s", "3 min 20 s", "1 h 05 min"]


def test_nothing_hides_in_a_text():
    """Marks that turn a text's direction, and what is not seen, stand as their numbers; tabs and lines stay."""
    assert plain("a\u202egnp.exe\u200b\x07\t\n") == "a\\u202egnp.exe\\u200b\\u0007\t\n"
