"""Makes a selector that matches nothing an error, and keeps everything else that a project sets in `flags`. dbt only warns about it.

`--warn-error-options` would make it an error, but replaces the project's own settings for warnings, and cannot be combined with
`warn_error`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

if TYPE_CHECKING:
    from click import Context
    from dbt.cli.flags import Flags
    from dbt.contracts.project import ProjectFlags
    from dbt_common.helper_types import WarnErrorOptionsV2

PATCH: Final = Patch(
    name="strict_selection",
    purpose="A selector that matches nothing is an error.",
    symbols=(
        Symbol("dbt.cli.flags", "Flags.__init__", "self, ctx, project_flags"),
        Symbol("dbt.cli.flags", "Flags.set_common_global_flags", "self"),
    ),
    required_for="detecting a selector that matches nothing",
)

_ERRORS: Final = ("NoNodesForSelectionCriteria", "NothingToDo")


@contextmanager
def empty_selections_fail() -> Iterator[None]:
    """Make commands inside the block fail if a selector matches nothing."""
    PATCH.require()
    from dbt.cli.flags import Flags

    make = Flags.__init__

    def make_strict(flags: Flags, ctx: Context | None = None, project_flags: ProjectFlags | None = None) -> None:
        make(flags, ctx, project_flags)
        options = strict(flags.WARN_ERROR_OPTIONS._warn_error_options_v2)
        # The object is frozen, and stores each value under both names.
        for name in ("WARN_ERROR_OPTIONS", "warn_error_options"):
            object.__setattr__(flags, name, options)
        flags.set_common_global_flags()  # type: ignore[no-untyped-call]  # dbt states no types here

    with patched(Flags, __init__=make_strict):
        yield


def strict(options: WarnErrorOptionsV2) -> WarnErrorOptionsV2:
    """Return the same options, with an empty selection among the errors."""
    from dbt.events import ALL_EVENT_NAMES
    from dbt_common.helper_types import WarnErrorOptionsV2

    error = options.error if isinstance(options.error, str) else [*(name for name in options.error if name not in _ERRORS), *_ERRORS]
    warn, silence = ([name for name in names if name not in _ERRORS] for names in (options.warn, options.silence))
    return WarnErrorOptionsV2(error, warn, silence, set(ALL_EVENT_NAMES))
