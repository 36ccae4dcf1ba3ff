"""Makes dbt search the installed packages for plug-ins once, not in each command."""

from __future__ import annotations

from functools import cache
from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol

PATCH: Final = Patch(
    name="plugin_search",
    purpose="dbt searches the installed packages for plug-ins once per run.",
    symbols=(Symbol("dbt.plugins.manager", "PluginManager.get_prefixed_modules", "cls", "classmethod"),),
    saves_ms=670,
)


@PATCH.once
def cache_plugin_search() -> None:
    """Apply the patch for the lifetime of the process."""
    from dbt.plugins.manager import PluginManager

    PluginManager.get_prefixed_modules = cache(PluginManager.get_prefixed_modules)  # type: ignore[method-assign]
