"""Texts for a terminal or a page: those from the cluster and the warehouse without invisible or control characters; counts with nouns."""

import re
from typing import Final

_HIDDEN: Final = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Invisible characters that change how a text is shown: control characters, including the start of every escape sequence, marks that
change the direction of the text, and surrogates, which cannot be printed."""


def plain(text: str) -> str:
    """Return the text with invisible characters escaped as in JSON. Line breaks and tabs are kept."""
    return _HIDDEN.sub(lambda match: _number(ord(match[0])), text)


def one_line(text: str) -> str:
    """Return the text as `plain` does, in one line."""
    return plain(" ".join(text.split()))


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 model` and `2 models`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _number(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
