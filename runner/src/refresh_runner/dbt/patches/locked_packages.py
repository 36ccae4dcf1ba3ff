"""Makes `dbt deps` install exactly the packages in package-lock.yml. dbt could otherwise resolve them again and write a new lock file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

PATCH: Final = Patch(
    name="locked_packages",
    purpose="Packages are installed only from the lock file.",
    symbols=(Symbol("dbt.task.deps", "DepsTask.lock", "self"), Symbol("dbt.task.deps", "DepsTask.run", "self")),
    required_for="installing packages from package-lock.yml",
)


class OutdatedLockError(Exception):
    """package-lock.yml is missing, or does not match the packages that the project requires."""


@contextmanager
def by_lock_file() -> Iterator[None]:
    """Raise OutdatedLockError inside the block instead of writing a lock file."""
    PATCH.require()
    from dbt.task.deps import DepsTask

    def refuse(_self: DepsTask) -> None:
        raise OutdatedLockError("package-lock.yml is missing, or does not match the packages that the project requires")

    with patched(DepsTask, lock=refuse):
        yield
