"""What the guide shows as printed by `refresh-runner import` is what it prints."""

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from support.guide import ROOT, Block, blocks
from support.imports import SOURCES, imported

PAGE = list(blocks("coming-from"))
COMMANDS = [command for block in PAGE for command in block.commands if command.startswith("refresh-runner import") and block.kind == "run"]


def manifests() -> list[tuple[Block, str]]:
    """Return each manifest of the page with the command before it."""
    found, last = [], ""
    for block in PAGE:
        last = next((command for command in reversed(block.commands) if command in COMMANDS), last)
        if block.kind == "refresh":
            found.append((block, last))
    return found


@pytest.mark.parametrize(("block", "command"), manifests(), ids=lambda value: str(value)[:40])
def test_a_printed_refresh_is_what_the_command_prints(block, command):
    """A reader compares it with what their own file becomes."""
    _, _, source, *words = shlex.split(command)
    assert imported(source, *(ROOT / word for word in words)) == block.text


def test_every_kind_of_source_is_shown():
    """Guards the test above against a page that shows none, and readers against a kind without a guide."""
    assert sorted(shlex.split(command)[2] for _, command in manifests()) == sorted(SOURCES)
    assert all(first != second for (_, first), (_, second) in pairwise(manifests()))
    assert {path.name for path in Path(ROOT / "examples/imports").iterdir()} == {name for names in SOURCES.values() for name in names}
