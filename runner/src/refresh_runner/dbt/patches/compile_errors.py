"""Makes `dbt compile` continue after a test that cannot be compiled.

Otherwise the rows of all other tests would be missing in the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

PATCH: Final = Patch(
    name="compile_errors",
    purpose="One test that cannot be compiled does not hide the failing rows of others.",
    symbols=(Symbol("dbt.task.compile", "CompileTask.raise_on_first_error", "self"),),
)


@contextmanager
def continue_after_errors() -> Iterator[None]:
    """Make commands inside the block compile the remaining nodes after an error."""
    if not PATCH.is_on:
        yield
        return
    from dbt.task.compile import CompileTask

    with patched(CompileTask, raise_on_first_error=lambda _task: False):
        yield
