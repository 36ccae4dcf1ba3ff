"""The dbt packages of a project: the packages that it requires, its lock file, and their installation."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from refresh_api.names import PACKAGE_HUB_ENV
from refresh_api.project import URL_PATTERN
from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.dbt.errors import error_text, invalid_project
from refresh_runner.dbt.patches.locked_packages import OutdatedLockError, by_lock_file
from refresh_runner.dbt.project_files import UnknownFilesError, install_path

_NAMING: Final = ("packages.yml", "dependencies.yml")
LOCK: Final = "package-lock.yml"
_HUB: Final = "https://hub.getdbt.com/"
_TEMPLATE: Final = re.compile(r"\{[{%]")
_HUB_PACKAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*")
_KINDS: Final = ("package", "git", "tarball", "local")
_REMEDY: Final = "run `dbt deps --lock` and commit package-lock.yml"


def names_packages(project: Path) -> bool:
    """Return whether the project requires packages."""
    return any(_entries(project / name) for name in _NAMING)


def folder(project: Path) -> Path:
    """Return where dbt installs the project's packages."""
    try:
        return project / install_path(project)
    except UnknownFilesError as error:
        raise invalid_project(str(error)) from error


def digest(project: Path) -> str:
    """Return a hash of the files from which the packages are installed."""
    found = hashlib.sha256()
    for name in (*_NAMING, LOCK):
        content = (project / name).read_bytes() if (project / name).is_file() else b""
        found.update(f"{name} {len(content)}\0".encode() + content)
    return found.hexdigest()


def locked_addresses(project: Path, variables: Mapping[str, str]) -> list[str]:
    """Return the addresses from which packages are downloaded, according to the lock file. Local packages have none.

    Raise RunFailedError with InvalidProject if there is no lock file, or if dbt could read an entry in it as another package.
    """
    if not (project / LOCK).is_file():
        raise invalid_project(f"the project requires packages but has no {LOCK}: {_REMEDY}")
    hub, found = variables.get(PACKAGE_HUB_ENV) or _HUB, []
    for entry in _entries(project / LOCK):
        kind = next((kind for kind in _KINDS if kind in entry), None)
        if kind is None:
            raise invalid_project(f"{LOCK} has an entry that is neither package, git, tarball nor local: {', '.join(map(str, entry))}")
        value = entry[kind]
        if any(_TEMPLATE.search(str(each)) for each in entry.values()):
            # dbt would render it after the addresses have been checked
            raise invalid_project(f"{LOCK} contains a template: write plain addresses")
        if kind == "package":
            if not isinstance(value, str) or not _HUB_PACKAGE.fullmatch(value):
                raise invalid_project(f"{value} in {LOCK} is not the name of a package on the hub: {_REMEDY}")
            found.append(f"{hub}api/v1/{value}.json")
        elif kind != "local":
            if not isinstance(value, str) or not re.fullmatch(URL_PATTERN, value):
                raise invalid_project(f"{value} in {LOCK} is not an address like https://HOST/PATH or ssh://USER@HOST/PATH")
            if kind == "git" and not _is_commit(str(entry.get("revision"))):
                raise invalid_project(f"{value} in {LOCK} has no commit as its revision: {_REMEDY}")
            found.append(value)
    return found


def has_local(project: Path) -> bool:
    """Return whether a package is a folder in the repository, to which dbt creates a link."""
    return any("local" in entry for entry in _entries(project / LOCK))


def install(project: Path, workdir: Path) -> None:
    """Install the packages in the lock file with `dbt deps`.

    Raise RunFailedError with InvalidProject for an error in the lock file, else with ProjectUnavailable: dbt has one error for all causes.
    """
    from dbt.cli.main import dbtRunner

    arguments = ["--quiet", "--no-send-anonymous-usage-stats", "deps", "--project-dir", str(project), "--log-path", str(workdir)]
    with by_lock_file():
        before = Path.cwd()
        try:
            outcome = dbtRunner().invoke(arguments)
        finally:
            # dbt changes the working directory
            os.chdir(before)
    if isinstance(outcome.exception, OutdatedLockError):
        raise invalid_project(f"{outcome.exception}: {_REMEDY}")
    if not outcome.success:
        message = f"cannot install the packages: {error_text(outcome.exception)}"
        raise RunFailedError(Failure(Reason.PROJECT_UNAVAILABLE, message, retryable=True))


def _is_commit(text: str) -> bool:
    return len(text) == 40 and all(each in "0123456789abcdef" for each in text)


def _entries(file: Path) -> list[Mapping[str, object]]:
    if not file.is_file():
        return []
    try:
        content = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise invalid_project(f"{file.name} is not valid YAML") from error
    entries = content.get("packages") if isinstance(content, dict) else None
    return [entry for entry in entries or () if isinstance(entry, dict)] if isinstance(entries, list) else []
