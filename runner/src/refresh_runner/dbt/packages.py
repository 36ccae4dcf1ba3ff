"""The dbt packages of a project: what it names, what its lock file says, and their installation."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from refresh_api.names import PACKAGE_HUB_ENV
from refresh_runner.dbt.errors import error_text, invalid_project
from refresh_runner.dbt.patches.locked_packages import OutdatedLockError, by_lock_file
from refresh_runner.dbt.project_files import UnknownFilesError, install_path

_NAMING: Final = ("packages.yml", "dependencies.yml")
LOCK: Final = "package-lock.yml"
_HUB: Final = "https://hub.getdbt.com/"
_TEMPLATE: Final = re.compile(rb"\{[{%]")
_REMEDY: Final = "run `dbt deps --lock` and commit package-lock.yml"


def names_packages(project: Path) -> bool:
    """Return whether the project names packages."""
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
    """Return the addresses from which the lock file has packages downloaded; local packages have none.

    RunFailedError with InvalidProject if there is no lock file, or an entry in it does not say which package.
    """
    if not (project / LOCK).is_file():
        raise invalid_project(f"the project names packages and has no {LOCK}: {_REMEDY}")
    if _TEMPLATE.search((project / LOCK).read_bytes()):
        # dbt would fill it in after the addresses are checked
        raise invalid_project(f"{LOCK} has a template in it: write plain addresses")
    hub = variables.get(PACKAGE_HUB_ENV) or _HUB
    found = []
    for entry in _entries(project / LOCK):
        if "package" in entry:
            found.append(f"{hub}api/v1/{entry['package']}.json")
        elif "git" in entry:
            if not _is_commit(str(entry.get("revision"))):
                raise invalid_project(f"{entry['git']} in {LOCK} has no commit as its revision: {_REMEDY}")
            found.append(str(entry["git"]))
        elif "tarball" in entry:
            found.append(str(entry["tarball"]))
        elif "local" not in entry:
            raise invalid_project(f"{LOCK} has an entry that is neither package, git, tarball nor local: {', '.join(entry)}")
    return found


def has_local(project: Path) -> bool:
    """Return whether a package is a folder of the repository, to which dbt makes a link."""
    return any("local" in entry for entry in _entries(project / LOCK))


def install(project: Path, workdir: Path) -> None:
    """Install the packages by the lock file with `dbt deps`; RunFailedError with InvalidProject says what failed."""
    from dbt.cli.main import dbtRunner

    arguments = ["--quiet", "--no-send-anonymous-usage-stats", "deps", "--project-dir", str(project), "--log-path", str(workdir)]
    with by_lock_file():
        before = Path.cwd()
        try:
            outcome = dbtRunner().invoke(arguments)
        finally:
            # dbt changes it
            os.chdir(before)
    if isinstance(outcome.exception, OutdatedLockError):
        raise invalid_project(f"{outcome.exception}: {_REMEDY}")
    if not outcome.success:
        raise invalid_project(f"the packages cannot be installed: {error_text(outcome.exception)}")


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
