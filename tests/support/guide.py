"""The guide, for its tests: the pages in reading order, and their fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
KINDS = {
    "console": {"cluster", "run", "checked", "refused", "gone", "transcript", "laptop", "differs"},
    "yaml": {"refresh", "spec", "values", "preview", "objects", "pipeline"},
    "sql": {""},
    "text": {"", "report"},
}
"""Kinds of blocks by language, and how tests use them.

`cluster`: run on an API server with the operator; `refused`: the same, and each answers no; `gone`: the same, after all other pages.
`run`: run on this machine. `laptop`: run in the order of the page, on this machine with a cluster; `differs`: the same, and the last
command reports a difference, whose lines are those of the `report` that follows. `transcript`: written by
`make transcript`. `checked`: not run, but its options and targets are looked up. `spec`: a part of a refresh's spec;
`preview`: a RefreshPreview; `objects`: objects of Kubernetes that a test applies; `pipeline`: a job of a forge, which is only parsed.
"""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    kind: str
    text: str
    file: str = ""
    """Name of the file in which readers save it."""

    @property
    def commands(self) -> list[str]:
        """Return the commands of the block with continued lines joined; printed output is left out."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]

    def __str__(self) -> str:
        """Return page and line."""
        return f"docs/{self.page}.md:{self.line}"


def pages() -> list[str]:
    """Return the names of hand-written pages, in the order of the index."""
    entries = re.findall(r"^([a-z-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    return ["index", *entries]


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, without Sphinx directives."""
    text = (DOCS / f"{page}.md").read_text()
    for found in re.finditer(r"^```(?!\{)(\S+)(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        language, words, content = found.groups()
        file = next((word.removeprefix("file=") for word in words.split() if word.startswith("file=")), "")
        kind = next((word for word in words.split() if "=" not in word), "")
        yield Block(page, text.count("\n", 0, found.start()) + 1, language, kind, content, file)


def all_blocks(language: str, *kinds: str) -> list[Block]:
    """Return the blocks of all pages in a language and, if given, of a kind."""
    return [block for page in pages() for block in blocks(page) if block.language == language and (not kinds or block.kind in kinds)]
