"""What the guide shows as printed by `refresh-runner import` is what it prints."""

import shlex
from itertools import pairwise

import pytest

from support.guide import ROOT, Block, blocks
from support.imports import EXAMPLES, SOURCES, example, imported

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
    files = [ROOT / word for word in words if (ROOT / word).is_file()]
    assert imported(source, *files, options=words[len(files) :]) == block.text


def test_every_kind_of_source_is_shown():
    """Guards the test above against a page that shows none, and readers against a kind without a guide."""
    shown = [shlex.split(command)[2] for _, command in manifests()]
    assert sorted(shown) == sorted(source for source, _ in SOURCES.values())
    assert all(first != second for (_, first), (_, second) in pairwise(manifests()))


def test_every_example_is_used():
    """A file that nothing reads would go stale."""
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {path.name for name in SOURCES for path in example(name)}
