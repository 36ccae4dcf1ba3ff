"""Have `dbt deps` install what package-lock.yml says, or nothing: dbt would otherwise resolve the packages and write another lock file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

PATCH: Final = Patch(
    name="locked_packages",
    purpose="Packages are installed by their lock file alone.",
    symbols=(Symbol("dbt.task.deps", "DepsTask.lock", "self"), Symbol("dbt.task.deps", "DepsTask.run", "self")),
    required_for="installing packages by package-lock.yml",
)


class OutdatedLockError(Exception):
    """There is no package-lock.yml, or it was not made from the packages that the project names now."""


@contextmanager
def by_lock_file() -> Iterator[None]:
    """Raise OutdatedLockError inside instead of writing a lock file."""
    PATCH.require()
    from dbt.task.deps import DepsTask

    def refuse(_self: DepsTask) -> None:
        raise OutdatedLockError("package-lock.yml is missing, or was not made from the packages that the project names now")

    with patched(DepsTask, lock=refuse):
        yield
