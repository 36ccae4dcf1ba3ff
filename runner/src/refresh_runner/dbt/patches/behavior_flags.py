"""Makes dbt label its behavior flags without walking the stack, which it does 34 times per command.

The label is the module that defines a flag. It is used in a notice that the runner does not print.
"""

from __future__ import annotations

from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol

PATCH: Final = Patch(
    name="behavior_flags",
    purpose="dbt does not walk the stack for each behavior flag.",
    symbols=(Symbol("dbt_common.behavior_flags", "BehaviorFlagRendered._default_source", "", "staticmethod"),),
    saves_ms=680,
)


@PATCH.once
def skip_stack_walks() -> None:
    """Apply the patch for the lifetime of the process."""
    from dbt_common.behavior_flags import BehaviorFlagRendered

    # By name, because a private attribute of another class cannot be assigned in any other way.
    setattr(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "dbt"))  # noqa: B010
