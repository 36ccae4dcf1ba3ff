"""Texts of others cannot move the cursor, colour a line, hide a word or set a title."""

import json

import pytest

from refresh_api.plain import one_line, plain

HIDDEN = ("\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\r", "\x08", "\x00", "\x7f", "\x85")
MARKS = ("\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\U000e0041")


@pytest.mark.parametrize("hidden", [*HIDDEN, *MARKS])
def test_what_hides_stands_as_its_number(hidden):
    """Both in a text and in JSON, whose value does not change."""
    shown = plain(f"a{hidden}b")
    assert shown.startswith("a\\u")
    assert shown.isprintable()
    value = {"message": f"é\n{hidden}\t€🙂"}
    text = plain(json.dumps(value, ensure_ascii=False))
    assert (json.loads(text), text.isprintable()) == (value, True)


def test_half_a_character_can_be_printed():
    """Printing a lone surrogate would raise an error."""
    assert plain("a\ud800").encode() == b"a\\ud800"


def test_what_is_seen_stays():
    """Accents, other scripts, emoji, line breaks and tabs are kept; a single line has no line breaks or tabs."""
    text = "Déjà\tvu\n日本語 🙂 ‰"
    assert plain(text) == text
    assert one_line(text) == "Déjà vu 日本語 🙂 ‰"
