"""Have Jinja compile equal texts once: tests of one kind have the same text, and macros the same in each command."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol

PATCH: Final = Patch(
    name="template_cache",
    purpose="Jinja compiles each text once a run.",
    symbols=(Symbol("dbt_common.clients.jinja", "MacroFuzzEnvironment.compile", "self, source, name, filename, raw, defer_init"),),
    saves_ms=0,
)

_compiled: Final[dict[tuple[object, ...], CodeType]] = {}
"""Compiled templates, by the kind of environment, the text, and any other argument."""


@PATCH.once
def cache_templates() -> None:
    """Apply the patch for the life of the process."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    # The environment for native values is derived from this one.
    MacroFuzzEnvironment.compile = _cached(MacroFuzzEnvironment.compile)  # type: ignore[method-assign, assignment]


def _cached(compile_: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """Return `Environment.compile` with a cache: code is immutable, and depends on the kind of environment alone."""

    def compile_once(environment: object, source: object, *further: object, **named: object) -> CodeType:
        key = (type(environment), source, *further, *sorted(named.items()))
        if key not in _compiled:
            _compiled[key] = compile_(environment, source, *further, **named)
        return _compiled[key]

    return compile_once
