"""One run is one invocation of dbt, however many commands it takes: `invocation_id` and `run_started_at` are the same in all of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import changed

if TYPE_CHECKING:
    from dbt.tracking import User


class Invocation:
    """What dbt's commands of one run have in common; it begins with the first of them."""

    def __init__(self) -> None:
        self.id: Final = str(uuid.uuid4())
        self._began: datetime | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have dbt take a command for a part of this invocation while inside, instead of beginning another one."""
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

        with changed(requires, reset_invocation_id=reset_invocation_id), changed(tracking.User, __init__=make_user):
            yield
