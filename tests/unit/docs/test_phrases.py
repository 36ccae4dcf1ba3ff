"""The list of banned phrases agrees with docs/style.md and finds them however they are wrapped."""

import re

import pytest

from phrases import PENDING, ROOT, compiled, found, lines, main, phrases
from support.guide import DOCS

PAIRS = re.findall(r"^\| (.+?) \| (.+?) \|$", (DOCS / "style.md").read_text().partition("## Ten pairs")[2], re.MULTILINE)[1:]


def test_style_has_ten_pairs():
    """Guards the two tests below against an empty table."""
    assert len(PAIRS) == 10


@pytest.mark.parametrize("wrong", [wrong for wrong, _ in PAIRS])
def test_left_column_of_style_is_banned(wrong):
    """A pair that only the guide knows would not hold."""
    assert list(found(wrong, phrases()))


@pytest.mark.parametrize("right", [right for _, right in PAIRS])
def test_right_column_of_style_is_allowed(right):
    """A pattern that is too wide would ban the recommended words."""
    assert not list(found(right, phrases()))


@pytest.mark.parametrize(
    ("text", "found_at"),
    [
        ("it is looked for\nagain and\nagain", (2, "again and again")),
        ("x = 1\n    # looked for again\n    # and again", (2, "again # and again")),
    ],
)
def test_phrase_is_found_across_lines(text, found_at):
    """Comments and Markdown are wrapped anywhere."""
    assert list(found(text, [compiled(r"\bagain and again\b", "retrying")])) == [(*found_at, "retrying")]


def test_is_none_is_banned_in_prose_and_not_in_python():
    """`is None` is code."""
    assert list(found("a label that is none", phrases()))
    assert not list(found("None if there is none.", phrases()))
    assert not list(found("if value is None:", phrases()))


def test_every_pending_path_exists():
    """A path that was renamed would exempt nothing, and hide that its texts are checked already."""
    assert [path for path in lines(PENDING) if not (ROOT / path).exists()] == []


def test_a_file_with_a_phrase_fails_the_check(capsys):
    """The control: the style guide quotes banned phrases, so that `docs/style.md` itself is passed over, and its text is not."""
    assert main(["docs/style.md"]) == 0
    assert main([]) == 0, capsys.readouterr().out
