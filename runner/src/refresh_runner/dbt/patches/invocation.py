"""Makes all commands of a run one dbt invocation, with one `invocation_id` and one `run_started_at`, as in `dbt build`.

Projects write both to audit tables, from models as well as from hooks.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

if TYPE_CHECKING:
    from dbt.tracking import User


PATCH: Final = Patch(
    name="invocation",
    purpose="All commands of a run are one invocation.",
    symbols=(
        Symbol("dbt.cli.requires", "reset_invocation_id", ""),
        Symbol("dbt.tracking", "User.__init__", "self, cookie_dir"),
    ),
    required_for="one invocation_id for all commands of a run",
)


class Invocation:
    """The invocation of one run. It begins with the run's first command."""

    def __init__(self) -> None:
        self.id: Final = str(uuid.uuid4())
        self._began: datetime | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Make commands inside the block belong to this invocation."""
        PATCH.require()
        import dbt_common.invocation as common
        from dbt import tracking
        from dbt.cli import requires

        self._began = began = self._began or datetime.now(UTC)
        make = tracking.User.__init__

        def reset_invocation_id() -> None:
            vars(common).update(_INVOCATION_ID=self.id, _INVOCATION_STARTED_AT=began.replace(tzinfo=None))

        def make_user(user: User, cookie_dir: str | None) -> None:
            make(user, cookie_dir)
            user.run_started_at = began.astimezone(user.run_started_at.tzinfo)

        with patched(requires, reset_invocation_id=reset_invocation_id), patched(tracking.User, __init__=make_user):
            yield
