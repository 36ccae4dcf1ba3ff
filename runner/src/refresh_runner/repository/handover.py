"""What the container that fetches the project leaves to the container of the run: the project, or why there is none."""

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
    """Why the run must end as Warned although it succeeds."""
    folder: str = ""
    """Path of the project below the folder in which this is written."""
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
    """Write the result of a fetch; OSError if that fails."""
    draft = folder / f"{_FILE}.draft"
    draft.write_text(fetched.model_dump_json())
    draft.rename(folder / _FILE)


def read(folder: Path) -> Fetched:
    """Return the result of the fetch; a failure if none was written, since the run must not take another project instead."""
    try:
        return Fetched.model_validate_json((folder / _FILE).read_text())
    except (OSError, ValidationError):
        message = f"no project was fetched into {folder}: the container project did not run, or was changed"
        return Fetched.failed(Failure(Reason.PROJECT_UNAVAILABLE, message))
