"""Makes Jinja compile equal templates once: tests of one kind have equal templates, and macros have the same ones in each command."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol

PATCH: Final = Patch(
    name="template_cache",
    purpose="Jinja compiles each template once per run.",
    symbols=(Symbol("dbt_common.clients.jinja", "MacroFuzzEnvironment.compile", "self, source, name, filename, raw, defer_init"),),
    saves_ms=0,
)

_compiled: Final[dict[tuple[object, ...], CodeType]] = {}
"""Compiled templates, by the kind of environment, the source, and all other arguments."""


@PATCH.once
def cache_templates() -> None:
    """Apply the patch for the lifetime of the process."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    # The environment for native values is derived from this one.
    MacroFuzzEnvironment.compile = _cached(MacroFuzzEnvironment.compile)  # type: ignore[method-assign, assignment]


def _cached(compile_: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """Return `Environment.compile` with a cache: code is immutable, and depends only on the arguments and the kind of environment."""

    def compile_once(environment: object, source: object, *further: object, **named: object) -> CodeType:
        key = (type(environment), source, *further, *sorted(named.items()))
        if key not in _compiled:
            _compiled[key] = compile_(environment, source, *further, **named)
        return _compiled[key]

    return compile_once
