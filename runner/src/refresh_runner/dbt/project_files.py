"""Finds and hashes the files of a project that dbt reads, so that every change to them is detected.

dbt reads the files at the top of a project, and files of some types in the folders that `dbt_project.yml` names, wherever these are. It
reads the same files of each installed package, and follows links to folders.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import yaml

from refresh_api.names import POD_NAME_ENV, RUN_FAILURES_ENV, RUN_ID_ENV, RUN_REQUEST_ENV

_READ: Final = frozenset({".sql", ".py", ".csv", ".md", ".yml", ".yaml"})
"""Extensions of the files that dbt reads in these folders, in upper or lower case."""
_TEMPLATES: Final = _READ - {".csv", ".py"}
"""Extensions of files in which `env_var` can be used."""
_IGNORE: Final = ".dbtignore"
_FOLDERS: Final[Mapping[str, str]] = {
    "model-paths": "models",
    "seed-paths": "seeds",
    "test-paths": "tests",
    "analysis-paths": "analyses",
    "macro-paths": "macros",
    "snapshot-paths": "snapshots",
    "function-paths": "functions",
}
"""The default folders that dbt reads, by the setting that overrides them."""
_PACKAGES: Final = "packages-install-path"
_PLAIN: Final = re.compile(r"(?!.*(\{\{|\{%))", re.DOTALL)
_ENV_VAR: Final = re.compile(rb"env_var\s*\(\s*(?:'([^'\\]+)'|\"([^\"\\]+)\")")
_OWN_TO_A_RUN: Final = frozenset({RUN_REQUEST_ENV, RUN_ID_ENV, RUN_FAILURES_ENV, POD_NAME_ENV, "HOSTNAME"})
"""Variables whose values differ in each attempt."""
_MOST: Final = 100_000
"""Maximum number of entries: links can turn a few files into any number of entries."""


class UnknownFilesError(Exception):
    """Not all files that dbt reads are known; the message says why."""


class Hash(Protocol):
    """The part of hashlib's objects that is used here."""

    def update(self, data: bytes, /) -> None:
        """Add these bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes added."""


@dataclass(frozen=True)
class ProjectFiles:
    """The files of a dbt project."""

    digest: str
    """Hash of the names and contents of all files that dbt reads."""
    folders: frozenset[str]
    """The folders of the files, with links resolved."""
    variables: frozenset[str] = frozenset()
    """The environment variables that the files name in `env_var`."""
    names_variables: bool = True
    """Whether every `env_var` has a literal name."""
    unknown: str = ""
    """Why dbt may read other files; empty if it cannot."""

    def environment(self, variables: Mapping[str, str]) -> list[tuple[str, str | None]]:
        """Return the environment variables that may affect the project, including dbt's own settings."""
        if not self.names_variables:
            return sorted((name, value) for name, value in variables.items() if name not in _OWN_TO_A_RUN)
        names = self.variables | {name for name in variables if name.startswith("DBT_")}
        return [(name, variables.get(name)) for name in sorted(names)]


def project_files(project: Path) -> ProjectFiles:
    """Return the files of a project as they are now."""
    found = _Reading()
    try:
        found.take_project(project)
    except UnknownFilesError as error:
        found.unknown = str(error)
    except OSError as error:
        found.unknown = f"{error.filename} cannot be read: {error.strerror}"
    return found.files()


class _Reading:
    """Collects the files of a project."""

    def __init__(self) -> None:
        self.unknown = ""
        self._names_variables = True
        self._digest: Hash = hashlib.sha256()
        self._folders: set[str] = set()
        self._variables: set[str] = set()
        self._entries = 0

    def files(self) -> ProjectFiles:
        variables = frozenset(self._variables)
        return ProjectFiles(self._digest.hexdigest(), frozenset(self._folders), variables, self._names_variables, self.unknown)

    def take_project(self, root: Path, *, is_package: bool = False) -> None:
        self._folders.add(os.path.realpath(root))
        for name in _names(root):
            if Path(name).suffix.lower() in _READ or name == _IGNORE:
                self._take_file(root / name, name)
        settings = _settings(root / "dbt_project.yml")
        for name in _named_folders(settings):
            self._take_folder(root / name, name)
        # The packages of a package are installed beside it, not in it.
        packages = root / _install_path(settings)
        if not is_package and packages.is_dir():
            for name in _names(packages):
                if (packages / name).is_dir():
                    self._note("package", name)
                    self.take_project(packages / name, is_package=True)

    def _take_folder(self, folder: Path, name: str) -> None:
        self._folders.add(os.path.realpath(folder))
        self._note("folder", name)
        for path in self._below(folder, frozenset()):
            self._take_file(path, os.path.relpath(path, folder))

    def _below(self, folder: Path, above: frozenset[str]) -> Iterator[Path]:
        here = os.path.realpath(folder)
        # A link to a parent folder would be followed without end.
        if here in above or not folder.is_dir():
            return
        for name in _names(folder):
            self._entries += 1
            if self._entries > _MOST:
                raise UnknownFilesError(f"its folders hold more than {_MOST} files")
            path = folder / name
            if path.is_dir():
                yield from self._below(path, above | {here})
            elif path.suffix.lower() in _READ:
                yield path

    def _take_file(self, path: Path, name: str) -> None:
        if not path.is_file():
            self._note("no file", name)
            return
        self._note("file", name)
        if path.suffix.lower() not in _TEMPLATES:
            with path.open("rb") as file:
                self._digest.update(hashlib.file_digest(file, "sha256").digest())
            return
        content = path.read_bytes()
        self._digest.update(hashlib.sha256(content).digest())
        named = [(single or double).decode(errors="replace") for single, double in _ENV_VAR.findall(content)]
        self._variables.update(named)
        self._names_variables = self._names_variables and len(named) == content.count(b"env_var")

    def _note(self, kind: str, name: str) -> None:
        self._digest.update(f"{kind} {name}\0".encode(errors="surrogateescape"))


def install_path(project: Path) -> str:
    """Return the folder in which dbt installs packages, relative to the project; UnknownFilesError if it is set by a template."""
    return _install_path(_settings(project / "dbt_project.yml"))


def _install_path(settings: Mapping[str, object]) -> str:
    return _plain(settings.get(_PACKAGES) or "dbt_packages", _PACKAGES)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _settings(file: Path) -> Mapping[str, object]:
    try:
        content = yaml.safe_load(file.read_bytes())
    except FileNotFoundError:
        # Without this file, dbt reads nothing.
        return {}
    except yaml.YAMLError as error:
        raise UnknownFilesError(f"{file.name} is not valid YAML") from error
    if not isinstance(content, dict):
        raise UnknownFilesError(f"{file.name} is not a mapping")
    return content


def _named_folders(settings: Mapping[str, object]) -> list[str]:
    """Return the folders that dbt reads: those in the settings, else the defaults. Two settings also have older names."""
    usual = [folder for setting, folder in _FOLDERS.items() if not settings.get(setting)]
    found = dict.fromkeys(usual)
    for setting, folders in settings.items():
        if not str(setting).endswith("-paths") or folders is None:
            continue
        if not isinstance(folders, list):
            raise UnknownFilesError(f"{setting} in dbt_project.yml is not a list")
        found.update(dict.fromkeys(_plain(folder, str(setting)) for folder in folders))
    return list(found)


def _plain(folder: object, setting: str) -> str:
    """Return the name of a folder. Raise UnknownFilesError for a template, whose value only dbt knows."""
    if not isinstance(folder, str) or not _PLAIN.match(folder):
        raise UnknownFilesError(f"{setting} in dbt_project.yml names a folder by a template")
    return folder
