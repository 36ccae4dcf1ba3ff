"""The literals in SQL, and SQL without what does not matter: comments, and white space outside of literals and quoted names."""

from __future__ import annotations

import re
from typing import Final

LITERAL: Final = r"""\$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | \b[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*'"""
"""Pattern of a string literal, for re.DOTALL and re.VERBOSE."""
QUOTED_NAME: Final = r'''"(?:[^"]|"")*"'''
_TOKEN: Final = re.compile(
    rf"(?P<kept> {LITERAL} | {QUOTED_NAME} ) | (?P<line>--[^\n]*) | (?P<block>/\*) | (?P<space>\s+)", re.DOTALL | re.VERBOSE
)
_ODD: Final = re.compile(r"\w\$")
"""A name with a dollar sign, or a dollar quote with a tag, which are easily confused."""
_BRACKET: Final = re.compile(r"/\*|\*/")


def normalized(sql: str) -> str:
    """Return SQL in which each run of comments and white space is one space. Equal results mean equal statements."""
    if _ODD.search(sql):
        return sql.strip()
    parts: list[str] = [" "]
    place = 0
    while found := _TOKEN.search(sql, place):
        parts += [code] if (code := sql[place : found.start()]) else []
        place = _end_of_comment(sql, found.end()) if found["block"] else found.end()
        if found["kept"]:
            parts.append(found["kept"])
        elif not parts[-1].endswith(" "):
            parts.append(" ")
    return "".join([*parts, sql[place:]]).strip()


def _end_of_comment(sql: str, place: int) -> int:
    """Return where a comment ends that is open at `place`; comments may contain others."""
    depth = 1
    while depth and (found := _BRACKET.search(sql, place)):
        depth += 1 if found[0] == "/*" else -1
        place = found.end()
    return len(sql) if depth else place
