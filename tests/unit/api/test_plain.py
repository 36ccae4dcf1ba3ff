"""Nothing that others wrote moves a cursor, colours a line, hides a word or sets a title."""

import json

import pytest

from refresh_api.plain import one_line, plain

HIDDEN = ("\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\r", "\x08", "\x00", "\x7f", "\x85")
MARKS = ("\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\U000e0041")


@pytest.mark.parametrize("hidden", [*HIDDEN, *MARKS])
def test_what_hides_stands_as_its_number(hidden):
    """In a text as in JSON, which stays the same value."""
    shown = plain(f"a{hidden}b")
    assert shown.startswith("a\\u")
    assert shown.isprintable()
    value = {"message": f"é\n{hidden}\t€🙂"}
    text = plain(json.dumps(value, ensure_ascii=False))
    assert (json.loads(text), text.isprintable()) == (value, True)


def test_half_a_character_can_be_printed():
    """A lone surrogate would be an error at the terminal."""
    assert plain("a\ud800").encode() == b"a\\ud800"


def test_what_is_seen_stays():
    """Accents, other scripts, emoji, line breaks and tabs; a line has none of these."""
    text = "Déjà\tvu\n日本語 🙂 ‰"
    assert plain(text) == text
    assert one_line(text) == "Déjà vu 日本語 🙂 ‰"
