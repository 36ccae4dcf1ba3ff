"""Files and names in CONTRIBUTING.md and ARCHITECTURE.md exist, so that a newcomer is not sent to a place that was renamed."""

import re

import pytest

from support.guide import ROOT

NAMED = sorted(
    {
        (page, path, symbol)
        for page in ("CONTRIBUTING.md", "ARCHITECTURE.md")
        for path, symbol in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|yaml|json))(?:::(\w+))?`", (ROOT / page).read_text())
        if path.count("/") > 1
    }
)


def test_paths_are_found():
    """Guards the test below against a pattern that matches nothing."""
    assert len(NAMED) > 20


@pytest.mark.parametrize(("page", "path", "symbol"), NAMED)
def test_named_file_and_symbol_exist(page, path, symbol):
    """A rename has to reach these pages."""
    assert (ROOT / path).is_file(), f"{page} names {path}"
    if symbol:
        definition = rf"^(?:def|class|async def) {symbol}\b|^{symbol}(?::[^=\n]*)? = "
        assert re.search(definition, (ROOT / path).read_text(), re.MULTILINE), f"{page} names {symbol} in {path}"


def test_every_package_is_described():
    """A package that ARCHITECTURE.md does not explain is found by nobody."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for distribution in ("operator", "runner", "page"):
        root = ROOT / distribution / "src" / f"refresh_{distribution}"
        packages = [path.parent.name for path in root.glob("*/__init__.py")]
        assert [name for name in packages if f"| `{name}` |" not in text] == [], distribution


def test_commands_of_make_exist():
    """A target that was renamed or removed fails only in a newcomer's shell."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        named = set(re.findall(r"(?:^\$ |`|&& )make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
        assert {name.rstrip("-") for name in named if not name.endswith("-")} <= targets, page
