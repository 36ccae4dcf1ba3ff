"""Draw the packages and their imports into ARCHITECTURE.md: `make architecture`. `--check` compares instead."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import grimp

from marked import between

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
DISTRIBUTIONS = (
    "refresh_api",
    "refresh_notify",
    "refresh_runner",
    "refresh_operator",
    "refresh_cli",
    "refresh_page",
    "refresh_examples",
)
DIVIDED = ("refresh_runner", "refresh_operator", "refresh_page")
"""Distributions that are drawn with their packages."""

Edges = dict[str, set[str]]
"""What each package imports, by name."""


def edges(graph: grimp.ImportGraph, rooms: Iterable[str]) -> Edges:
    """Return the imports between these packages and modules, including those of their contents."""
    known = sorted(rooms)
    found: Edges = {room: set() for room in known}
    for module in graph.modules:
        source = _room(module, known)
        for imported in graph.find_modules_directly_imported_by(module):
            target = _room(imported, known)
            if source and target and source != target:
                found[source].add(target)
    return found


def _room(module: str, rooms: list[str]) -> str | None:
    return next((room for room in rooms if module == room or module.startswith(f"{room}.")), None)


def rooms_of(graph: grimp.ImportGraph, distribution: str) -> set[str]:
    """Return the packages of a distribution and the module that joins them; other modules at its top are not drawn."""
    children = graph.find_children(distribution)
    return {name for name in children if graph.find_children(name) or name.endswith(".app")}


def reduced(direct: Edges) -> Edges:
    """Return the edges without those that a longer path implies; ValueError if there is a cycle."""
    reached = {name: _reached(name, direct, ()) for name in direct}
    return {name: {each for each in targets if not any(each in reached[other] for other in targets)} for name, targets in direct.items()}


def _reached(name: str, direct: Edges, path: tuple[str, ...]) -> set[str]:
    if name in path:
        raise ValueError(f"import cycle: {' -> '.join((*path, name))}")
    found = set(direct[name])
    for each in direct[name]:
        found |= _reached(each, direct, (*path, name))
    return found


def depth(direct: Edges) -> int:
    """Return the number of packages in the longest chain of imports."""

    def below(name: str) -> int:
        return 1 + max((below(each) for each in direct[name]), default=0)

    return max(below(name) for name in direct)


def drawing(direct: Edges, prefix: str = "") -> str:
    """Return the packages as a mermaid flow chart, an arrow from each one to those that it imports."""
    lines = ["```mermaid", "flowchart TD"]
    drawn = reduced(direct)
    for name in sorted(drawn):
        lines.append(f'    {_id(name, prefix)}["{name.removeprefix(prefix)}"]')
    for name in sorted(drawn):
        lines += [f"    {_id(name, prefix)} --> {_id(each, prefix)}" for each in sorted(drawn[name])]
    return "\n".join([*lines, "```", ""])


def _id(name: str, prefix: str) -> str:
    """Return a name that mermaid does not read as one of its keywords."""
    return f"m_{name.removeprefix(prefix).replace('.', '_')}"


def drawn(text: str) -> str:
    """Return the page with all its drawings up to date."""
    graph = grimp.build_graph(*DISTRIBUTIONS, cache_dir=None)
    text = between(text, "distributions", drawing(edges(graph, DISTRIBUTIONS)))
    for distribution in DIVIDED:
        direct = edges(graph, rooms_of(graph, distribution))
        text = between(text, distribution, drawing(direct, f"{distribution}."))
    return text


def main() -> int:
    """Write the drawings, or with --check exit with 1 if they are stale."""
    text = PAGE.read_text()
    wanted = drawn(text)
    if "--check" in sys.argv[1:]:
        if text != wanted:
            print(f"{PAGE.name} is stale: run `make architecture`", file=sys.stderr)
        return int(text != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
