"""The dbt project of a subcommand: a folder, a repository, or the image's project."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from refresh_api.project import Origin
from refresh_api.spec import RefreshSpec
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.failures import invalid

IMAGE_PROJECTS: Final = (Path("/app/project"), Path("/app/dbt_project"))
"""Folders of the dbt project in an image: images built on ours copy their project to the first, ours has the second."""
FORM: Final = "git+URL@REF#subdirectory=FOLDER"
"""The same form as in pip and uv: a branch, tag or commit, and a folder, both optional."""
_FORM: Final = re.compile(r"git\+(?P<url>(?:https|ssh|file)://[^#]+?)(?:@(?P<ref>[^@#/][^@#]*))?(?:#subdirectory=(?P<folder>[^#]+))?")
_LIMIT: Final = 300.0
"""Timeout of a fetch in seconds."""


def default_project() -> Path:
    """Return ./dbt_project if it exists, else the image's project."""
    return next((place for place in (Path("dbt_project"), *IMAGE_PROJECTS) if place.is_dir()), IMAGE_PROJECTS[-1])


def project_of(spec: RefreshSpec, given: Path | None) -> Path:
    """Return the given folder, else the default one.

    Raise RunFailedError with InvalidProject if no folder is given and the refresh takes its project from a repository: the default one
    would be another project.
    """
    if given is None and spec.project is not None:
        git = spec.project.git
        if git is None:
            raise RunFailedError(
                invalid(f"this refresh takes its dbt project from {spec.project.origin.url} of Flux: use --project with a folder")
            )
        ref = git.ref.branch or git.ref.tag or git.ref.commit or ("TAG" if git.ref.semver else "")
        option = f"git+{git.url}{f'@{ref}' if ref else ''}{'' if git.path == '.' else f'#subdirectory={git.path}'}"
        raise RunFailedError(
            invalid(f"this refresh takes its dbt project from Git: use --project {option}, or a folder with a checkout of it")
        )
    return given or default_project()


@contextmanager
def opened(option: str | None) -> Iterator[Path | None]:
    """Yield the folder that `--project` names; None without the option. Fetch a project in a repository into a temporary folder.

    Raise RunFailedError if it cannot be fetched. git uses the caller's configuration and credentials.
    """
    if option is None or not option.startswith("git+"):
        yield Path(option) if option else None
        return
    match = _FORM.fullmatch(option)
    if match is None:
        raise RunFailedError(invalid(f"--project {option}: use {FORM} with an address that begins with https://, ssh:// or file://"))
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
        project = check_project(source, Origin.model_construct(path=match["folder"] or "."), repository.submodules(commit))
        if packages.names_packages(project) and not packages.folder(project).is_dir():
            packages.install(project, Path(place))
        yield project
