"""The page's texts in English and French."""

import subprocess
import sys
from datetime import timedelta
from string import Formatter

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from markupsafe import Markup

from refresh_api.plain import plain
from refresh_api.reasons import SuspendedReason
from refresh_api.status import MissedReason, Outcome, StepState, Trigger, Verdict
from refresh_page.i18n.labels import LABELS
from refresh_page.i18n.locale import DOMAIN, LANGUAGES, LOCALES, Locale, language_of
from refresh_page.views.health import Issue, Scope
from refresh_page.views.issue_texts import issue_text
from refresh_runner.model.step_results import NodeState
from support.snapshots import NOW, ROOT

ENUMS = (Outcome, StepState, Verdict, Trigger, MissedReason, NodeState)


def catalogue(language: str) -> Catalog:
    with (LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        return read_po(file, locale=language)


FRENCH = [message for message in catalogue("fr") if message.id]


def forms(text: str | tuple[str, ...] | list[str] | None) -> list[str]:
    """Return the plural forms of a text; one for a text without."""
    return [text] if isinstance(text, str) else list(text or ())


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_the_catalogues_hold_exactly_the_messages_of_templates_and_modules():
    """A message that is missing from a catalogue would be shown in English; a stale `.mo` file would show yesterday's translation."""
    command = [sys.executable, str(ROOT / "scripts" / "translations.py"), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    assert {path.name for path in LOCALES.iterdir()} == set(LANGUAGES) - {"en"}


@pytest.mark.parametrize("message", FRENCH, ids=lambda message: forms(message.id)[0][:40])
def test_every_message_is_translated_in_all_its_plural_forms(message: Message):
    """`make generate` adds new messages with an empty translation, which gettext would silently replace by English."""
    translations = forms(message.string)
    assert translations, message.id
    assert all(translations), message.id
    assert len(translations) == (catalogue("fr").num_plurals if len(forms(message.id)) > 1 else 1)


@pytest.mark.parametrize("message", FRENCH, ids=lambda message: forms(message.id)[0][:40])
def test_a_translation_uses_the_placeholders_of_its_message(message: Message):
    """An unknown placeholder raises KeyError while a page is rendered; a missing one hides a value."""
    for original, translation in zip(forms(message.id), forms(message.string), strict=True):
        assert placeholders(translation) == placeholders(original)


@pytest.mark.parametrize("enum", ENUMS)
def test_every_value_of_an_enum_has_a_label(enum):
    """A value without one is shown untranslated."""
    assert {each.value for each in enum} <= LABELS.keys()


@pytest.mark.parametrize("reason", [each for each in SuspendedReason if each is not SuspendedReason.NOT_SUSPENDED])
def test_every_reason_for_a_suspension_reads_as_a_suspension(reason):
    """An unknown reason must not be taken for a failed run."""
    text = issue_text(Issue(reason=reason.value))
    assert "suspended" in text or "paused" in text


def test_an_issue_of_a_run_names_the_run_that_it_is_about():
    """A partial run that succeeded does not repair a full run that failed, so readers must be able to tell them apart."""
    texts = [issue_text(Issue(reason="LayerFailed", scope=scope)) for scope in Scope]
    assert texts == [
        "The last run failed ({reason})",
        "The last full run failed ({reason})",
        "A later partial run ({mode}) failed ({reason})",
    ]


@pytest.mark.parametrize(
    ("language", "number", "expected"),
    [
        ("en", 0, "0 refreshes"),
        ("en", 1, "1 refresh"),
        ("en", 1200, "1,200 refreshes"),
        ("fr", 0, "0 rafraîchissement"),
        ("fr", 1, "1 rafraîchissement"),
        ("fr", 1200, "1\u202f200 rafraîchissements"),
    ],
)
def test_the_plural_form_follows_the_language(language, number, expected):
    """French uses the singular for zero, English the plural."""
    assert Locale(language, NOW).ngettext("{n} refresh", "{n} refreshes", number) == expected


def test_markup_in_a_placeholder_is_kept_and_text_is_escaped():
    """Sentences contain `<time>` elements beside values that the cluster wrote."""
    text = Locale("en", NOW).gettext("{time}: {reason}", time=Markup("<b>now</b>"), reason="<i>\u202e")
    assert text == Markup("<b>now</b>: &lt;i&gt;\\u202e")


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("fr", "fr"), ("fr-CA,en;q=0.5", "fr"), ("en,fr;q=0.9", "en"), ("de,fr;q=0.3", "fr"), ("fr;q=0", "en"), ("*;q=x", "en")],
)
def test_the_language_is_the_one_that_the_browser_prefers(header, language):
    """A reader whose browser asks for neither English nor French gets English."""
    assert language_of(header) == language


def test_times_and_numbers_follow_the_language():
    """A French reader would take the comma of 12,345 for a decimal comma."""
    english, french = Locale("en", NOW), Locale("fr", NOW)
    assert (english.distance(NOW - timedelta(minutes=5)), french.distance(NOW + timedelta(days=2))) == ("5 min ago", "dans 2 j")
    assert (english.number(12345), french.number(12345)) == ("12,345", "12\u202f345")
    assert [english.seconds(each) for each in (0.42, 12, 200, 3900)] == ["0.4 s", "12 s", "3 min 20 s", "1 h 05 min"]


def test_invisible_characters_become_visible():
    """A text could otherwise be displayed in reverse, or hide a part of a file's name."""
    assert plain("a\u202egnp.exe\u200b\x07\t\n") == "a\\u202egnp.exe\\u200b\\u0007\t\n"
