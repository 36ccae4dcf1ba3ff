"""The result that the container that fetches the project passes to the container of the run: the project, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from refresh_api.status import ProjectStatus, Reason
from refresh_runner.core.errors import Failure

_FILE: Final = "fetched.json"
SOURCE: Final = "source"
"""Folder with the files of the commit."""


class Fetched(BaseModel):
    """The result of a fetch: exactly one of `project` and `reason` is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: ProjectStatus | None = None
    warning: str = ""
    """Why the run must end as Warned even if it succeeds."""
    folder: str = ""
    """Path of the project, relative to the folder of this result."""
    reason: Reason | None = None
    message: str = ""
    hint: str = ""
    retryable: bool = False

    @classmethod
    def failed(cls, failure: Failure) -> Fetched:
        """Return the result of a fetch that failed."""
        return cls(reason=failure.reason, message=failure.message, hint=failure.hint, retryable=failure.retryable)

    @property
    def failure(self) -> Failure | None:
        """Why there is no project; None if there is one."""
        return Failure(self.reason, self.message, self.retryable, self.hint) if self.reason else None


def write(folder: Path, fetched: Fetched) -> None:
    """Write the result of a fetch. Raise OSError if that fails."""
    draft = folder / f"{_FILE}.draft"
    draft.write_text(fetched.model_dump_json())
    draft.rename(folder / _FILE)


def read(folder: Path) -> Fetched:
    """Return the result of the fetch. Return a failure if there is none, because the run must not use another project instead."""
    try:
        return Fetched.model_validate_json((folder / _FILE).read_text())
    except (OSError, ValidationError):
        message = f"there is no project in {folder}: the init container `project` did not run, or was changed"
        return Fetched.failed(Failure(Reason.PROJECT_UNAVAILABLE, message))
