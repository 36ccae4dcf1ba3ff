"""dbt selectors that name exactly one node each, for `--select`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.node_selection import node_of

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_NOTHING: Final = "fqn:no.such.node"
"""Without any `--select`, dbt takes the whole project."""
_SYNTAX: Final = re.compile(r"[^\w.-]")
"""Whatever may mean something in a selector: a comma, a space, a plus sign, a wildcard."""
_SYNTAX_OR_DOT: Final = re.compile(r"[^\w-]")


def select_arguments(manifest: Manifest, ids: Iterable[str]) -> list[str]:
    """Return the arguments with which a command of dbt takes these nodes or sources, and no others.

    dbt is called in this process, so the length of the arguments has no limit. `--indirect-selection empty` keeps the tests of a
    selected model out.
    """
    selectors = list(_selectors(manifest, ids))
    return [*(part for each in selectors or [_NOTHING] for part in ("--select", each)), "--indirect-selection", "empty"]


def _selectors(manifest: Manifest, ids: Iterable[str]) -> Iterator[str]:
    for id_ in ids:
        if source := manifest.sources.get(id_):
            parts = (source.package_name, source.source_name, source.name)
            yield "source:" + ".".join(_SYNTAX_OR_DOT.sub("?", part) for part in parts)
        else:
            node = node_of(manifest, id_)
            # The name alone would also take what lies in a folder of the same name.
            yield f"fqn:{_literal('.'.join(node.fqn))},file:{_literal(PurePath(node.original_file_path).name)}"


def _literal(name: str) -> str:
    # dbt has no way to quote a character: `?` stands for any one.
    return _SYNTAX.sub("?", name)
