"""What a project says of dbt in its `flags` holds, as with dbt alone, but for one thing: a selector that takes nothing is an error.

dbt only warns of it. Its option `--warn-error-options` would make it an error, but replaces what the project says of its warnings, and
can't be used beside `warn_error` at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import changed

if TYPE_CHECKING:
    from click import Context
    from dbt.cli.flags import Flags
    from dbt.contracts.project import ProjectFlags
    from dbt_common.helper_types import WarnErrorOptionsV2

_ERRORS: Final = ("NoNodesForSelectionCriteria", "NothingToDo")


@contextmanager
def empty_selections_fail() -> Iterator[None]:
    """Have dbt's commands take an empty selection for an error while inside, whatever else the project says of warnings."""
    from dbt.cli.flags import Flags

    make = Flags.__init__

    def make_strict(flags: Flags, ctx: Context | None = None, project_flags: ProjectFlags | None = None) -> None:
        make(flags, ctx, project_flags)
        options = strict(flags.WARN_ERROR_OPTIONS._warn_error_options_v2)
        # Frozen, and known by either case.
        for name in ("WARN_ERROR_OPTIONS", "warn_error_options"):
            object.__setattr__(flags, name, options)
        flags.set_common_global_flags()  # type: ignore[no-untyped-call]  # dbt states no types here

    with changed(Flags, __init__=make_strict):
        yield


def strict(options: WarnErrorOptionsV2) -> WarnErrorOptionsV2:
    """Return the same options, with an empty selection for an error."""
    from dbt.events import ALL_EVENT_NAMES
    from dbt_common.helper_types import WarnErrorOptionsV2

    error = options.error if isinstance(options.error, str) else [*(name for name in options.error if name not in _ERRORS), *_ERRORS]
    warn, silence = ([name for name in names if name not in _ERRORS] for names in (options.warn, options.silence))
    return WarnErrorOptionsV2(error, warn, silence, set(ALL_EVENT_NAMES))
