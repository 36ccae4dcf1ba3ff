"""Texts of the cluster and the warehouse, as a terminal or a page may show them: nothing in them moves, hides or colours anything."""

import re
from typing import Final

_HIDDEN: Final = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""What is not seen but changes what is: controls, with them the start of every escape sequence, marks that turn the direction of a text,
and halves of characters, which can't be printed at all."""


def plain(text: str) -> str:
    """Return a text in which nothing hides: invisible characters stand as JSON would write them. Line breaks and tabs stay."""
    return _HIDDEN.sub(lambda match: _number(ord(match[0])), text)


def one_line(text: str) -> str:
    """Return such a text in one line."""
    return plain(" ".join(text.split()))


def _number(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
