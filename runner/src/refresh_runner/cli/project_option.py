"""Which dbt project a subcommand uses: a folder, a repository, or the image's."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from refresh_api.spec import RefreshSpec
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.failures import invalid

IMAGE_PROJECTS: Final = (Path("/app/project"), Path("/app/dbt_project"))
"""Where an image has its dbt project: one built on ours copies its own to the first, ours comes with the second."""
FORM: Final = "git+URL@REF#subdirectory=FOLDER"
"""As pip and uv write it: a branch, tag or commit, and a folder; both may be left out."""
_FORM: Final = re.compile(r"git\+(?P<url>(?:https|ssh|file)://[^#]+?)(?:@(?P<ref>[^@#/][^@#]*))?(?:#subdirectory=(?P<folder>[^#]+))?")
_LIMIT: Final = 300.0
"""Seconds for a fetch."""


def default_project() -> Path:
    """Return ./dbt_project if it exists, else the image's project."""
    return next((place for place in (Path("dbt_project"), *IMAGE_PROJECTS) if place.is_dir()), IMAGE_PROJECTS[-1])


def project_of(spec: RefreshSpec, given: Path | None) -> Path:
    """Return the folder that was given, else the default one.

    RunFailedError with InvalidProject if none was given and the refresh takes its project from a repository: another one would be checked.
    """
    if given is None and spec.project is not None:
        git = spec.project.git
        ref = git.ref.branch or git.ref.tag or git.ref.commit
        option = f"git+{git.url}{f'@{ref}' if ref else ''}{'' if git.path == '.' else f'#subdirectory={git.path}'}"
        raise RunFailedError(
            invalid(f"this refresh takes its dbt project from Git: give --project {option}, or a folder that has it checked out")
        )
    return given or default_project()


@contextmanager
def opened(option: str | None) -> Iterator[Path | None]:
    """Yield the folder that `--project` names; a project in a repository is fetched into a temporary folder. None without the option.

    RunFailedError says why it cannot be fetched. git uses the configuration and the credentials of whoever calls it.
    """
    if option is None or not option.startswith("git+"):
        yield Path(option) if option else None
        return
    match = _FORM.fullmatch(option)
    if match is None:
        raise RunFailedError(invalid(f"--project {option}: write {FORM} with an address that begins with https://, ssh:// or file://"))
    from refresh_runner.dbt import packages
    from refresh_runner.repository.contents import check_project, extract
    from refresh_runner.repository.git import GitRepository

    end = time.monotonic() + _LIMIT
    with tempfile.TemporaryDirectory(prefix="project-") as place:
        source = Path(place) / "source"
        repository = GitRepository.of_user(match["url"], Path(place) / "repository", lambda: end - time.monotonic())
        commit = repository.fetch(match["ref"] or "HEAD", match["ref"] or "the default branch")
        source.mkdir()
        with repository.archive(commit) as archive:
            extract(archive, source)
        project = check_project(source, match["folder"] or ".", repository.submodules(commit))
        if packages.names_packages(project) and not packages.folder(project).is_dir():
            packages.install(project, Path(place))
        yield project
