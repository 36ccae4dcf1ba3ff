"""Which dbt project a subcommand uses: a folder, a repository, or the image's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from refresh_api.spec import RefreshSpec
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.failures import invalid

IMAGE_PROJECTS: Final = (Path("/app/project"), Path("/app/dbt_project"))
"""Where an image has its dbt project: one built on ours copies its own to the first, ours comes with the second."""


def default_project() -> Path:
    """Return ./dbt_project if it exists, else the image's project."""
    return next((place for place in (Path("dbt_project"), *IMAGE_PROJECTS) if place.is_dir()), IMAGE_PROJECTS[-1])


def project_of(spec: RefreshSpec, given: Path | None) -> Path:
    """Return the folder that was given, else the default one.

    RunFailedError with InvalidProject if none was given and the refresh takes its project from a repository: another one would be checked.
    """
    if given is None and spec.project is not None:
        git = spec.project.git
        at = f" at {git.ref.label}" if git.ref.label else ""
        raise RunFailedError(
            invalid(f"this refresh takes its dbt project from {git.url}{at}: name a folder that has it checked out by --project FOLDER")
        )
    return given or default_project()
