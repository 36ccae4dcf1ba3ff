"""All patches of dbt."""

from __future__ import annotations

from typing import Final

from refresh_runner.dbt.patches import (
    behavior_flags,
    code_generation,
    compile_errors,
    connections,
    data_tests,
    debug_events,
    dry_run,
    garbage_collection,
    hooks,
    invocation,
    json_schemas,
    locked_packages,
    node_reuse,
    plugin_search,
    select_only,
    staging,
    strict_selection,
    template_cache,
    unit_test_reuse,
)
from refresh_runner.dbt.patches.patch import Patch

OPTIONAL: Final[tuple[Patch, ...]] = (
    code_generation.PATCH,
    json_schemas.PATCH,
    garbage_collection.PATCH,
    template_cache.PATCH,
    data_tests.PATCH,
    dry_run.PATCH,
    debug_events.PATCH,
    behavior_flags.PATCH,
    select_only.PATCH,
    plugin_search.PATCH,
    compile_errors.PATCH,
    node_reuse.PATCH,
    unit_test_reuse.PATCH,
)
"""Switched off by a mismatch with dbt or by REFRESH_DBT_PATCHES. A run is then slower or reports less, but builds the same."""
REQUIRED: Final[tuple[Patch, ...]] = (connections.PATCH, hooks.PATCH, invocation.PATCH, strict_selection.PATCH)
"""Required by every run."""
REQUIRED_TO_INSTALL: Final = locked_packages.PATCH
"""Required to install packages."""
REQUIRED_TO_SWAP: Final = staging.PATCH
"""Required unless a refresh has `publish: Direct`."""


def can_read_tests_ahead() -> bool:
    """Return whether the statements of data tests can be recorded when a project is parsed in advance, with marts in staging relations."""
    return dry_run.PATCH.is_on and data_tests.PATCH.is_on and REQUIRED_TO_SWAP.fits


def asks_about_nodes() -> bool:
    """Return whether dbt asks about each node whether it is reused. Otherwise it builds them all."""
    return node_reuse.PATCH.is_on


def require_patches() -> None:
    """Raise RunFailedError if a patch that every run needs does not fit this version of dbt."""
    for patch in REQUIRED:
        patch.require()
