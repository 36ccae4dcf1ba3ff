"""Archives whose bytes depend on nothing but the files in them: sorted, with one time, one owner and one mode."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

EARLIEST = 315532800
"""1980-01-01, before which a zip archive has no times."""
_FILE, _PROGRAM = 0o644, 0o755


def write_tgz(target: Path, files: Mapping[str, bytes], epoch: int, programs: frozenset[str] = frozenset()) -> None:
    """Write a .tar.gz archive of files by name; `programs` are executable."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(files[name]), epoch, _PROGRAM if name in programs else _FILE
            archive.addfile(member, io.BytesIO(files[name]))
    target.write_bytes(gzip.compress(content.getvalue(), mtime=0))


def zip_of(files: Mapping[str, bytes], epoch: int) -> bytes:
    """Return a zip archive of files by name."""
    moment = datetime.fromtimestamp(max(epoch, EARLIEST), UTC)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, moment.timetuple()[:6])
            member.external_attr, member.create_system = (0o100000 | _FILE) << 16, 3  # a file, as on Unix
            archive.writestr(member, files[name], zipfile.ZIP_DEFLATED)
    return content.getvalue()


def unzipped(archive: Path) -> dict[str, bytes]:
    """Return the files of a zip archive by name."""
    with zipfile.ZipFile(archive) as opened:
        return {each.filename: opened.read(each) for each in opened.infolist() if not each.is_dir()}


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by their relative names, without what Python and setuptools leave there."""
    found = (each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): each.read_bytes() for each in found if not _is_left(each.relative_to(folder))}


def _is_left(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part == "build" or part.endswith(".egg-info") for part in path.parts)
