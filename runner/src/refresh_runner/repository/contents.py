"""The files of a fetched commit: extracted, and rejected if a run could not trust or use them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, Literal

from typing_extensions import Buffer

from refresh_api.project import Origin
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.failures import invalid

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_LFS_LENGTH: Final = 1024
"""Maximum number of bytes in a Git LFS pointer."""
_PROJECT_FILE: Final = "dbt_project.yml"


def extract(archive: IO[bytes], folder: Path, mode: Literal["r|", "r|gz"] = "r|") -> None:
    """Extract a tar archive. Raise RunFailedError with InvalidProject for a link that leads out of the folder."""
    try:
        with tarfile.open(fileobj=archive, mode=mode) as files:
            files.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise RunFailedError(
            invalid(f"{error.tarinfo.name} in the repository is a link that points outside of it: links must stay inside the repository")
        ) from error


def extract_foreign(archive: Path, folder: Path, longest: int) -> None:
    """Extract a compressed tar archive that others have made.

    Raise RunFailedError with InvalidProject for another file, for a path or link that leads out of the folder, and if the files exceed
    `longest` bytes.
    """
    size = 0

    def limited(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo:
        nonlocal size
        size += member.size
        if size > longest:
            raise RunFailedError(invalid(f"the artifact has files of more than {longest // 1_000_000} MB"))
        if member.name.startswith("/"):
            raise RunFailedError(invalid(f"{member.name} in the artifact is an absolute path"))
        return tarfile.data_filter(member, place)

    try:
        with tarfile.open(archive, mode="r:gz") as files:
            files.extractall(folder, filter=limited)  # noqa: S202 - it ends in the filter `data`
    except tarfile.FilterError as error:
        raise RunFailedError(invalid(f"{error.tarinfo.name} in the artifact leads outside of it, or is no file")) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RunFailedError(invalid(f"the artifact is no tar.gz archive: {error}")) from error


def archive_of(folder: Path, longest: int) -> bytes | None:
    """Return the files of a folder as a compressed tar archive, for `extract` with mode `r|gz`; None if it exceeds `longest` bytes."""
    content = _Bounded(longest)
    try:
        with tarfile.open(fileobj=content, mode="w|gz") as archive:
            archive.add(folder, arcname=".")
    except _TooLongError:
        return None
    return content.getvalue()


class _TooLongError(Exception):
    """More bytes were written than are allowed."""


class _Bounded(io.BytesIO):
    """A file in memory of limited size: a repository can be larger than the container's memory."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self._longest = longest

    def write(self, content: Buffer, /) -> int:
        if self.tell() + memoryview(content).nbytes > self._longest:
            raise _TooLongError
        return super().write(content)


def check_project(source: Path, origin: Origin, submodules: Sequence[str]) -> Path:
    """Return the folder of the project. Raise RunFailedError with InvalidProject if it cannot be used."""
    path = origin.path
    project = source if path == "." else source / path
    if not project.is_dir():
        raise RunFailedError(invalid(f"the repository has no folder {path} ({origin.field}.path)"))
    check_links(source)
    if not (project / _PROJECT_FILE).is_file():
        where = "the repository's top folder" if path == "." else f"the repository's folder {path}"
        raise RunFailedError(invalid(f"{where} has no {_PROJECT_FILE}: {origin.field}.path must name the folder of the dbt project"))
    if inside := [each for each in submodules if path == "." or Path(each).is_relative_to(path) or Path(path).is_relative_to(each)]:
        raise RunFailedError(invalid(f"{inside[0]} in the repository is a submodule: submodules are not fetched; commit its files instead"))
    if pointer := next(_pointers(project), None):
        found = pointer.relative_to(source)
        raise RunFailedError(invalid(f"{found} in the repository is a Git LFS pointer: LFS is not supported; commit the file itself"))
    return project


def check_links(source: Path) -> None:
    """Raise RunFailedError with InvalidProject if a link leads out of a folder."""
    for link in _links(source):
        if not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(source)):
            where = link.relative_to(source)
            raise RunFailedError(
                invalid(f"{where} in the repository is a link that points outside of it: links must stay inside the repository")
            )


def make_links_relative(source: Path) -> None:
    """Replace absolute links by relative ones, so that the folder can be moved. dbt creates absolute links to local packages."""
    for link in _links(source):
        if link.readlink().is_absolute():
            target = os.path.relpath(os.path.realpath(link), os.path.realpath(link.parent))
            link.unlink()
            link.symlink_to(target)


def _links(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        yield from (path for name in (*folders, *files) if (path := Path(root) / name).is_symlink())


def _pointers(project: Path) -> Iterator[Path]:
    for root, _, files in os.walk(project):
        for path in (Path(root) / name for name in files):
            if not path.is_symlink() and path.stat().st_size <= _LFS_LENGTH:
                with path.open("rb") as file:
                    if file.read(len(_LFS)) == _LFS:
                        yield path
