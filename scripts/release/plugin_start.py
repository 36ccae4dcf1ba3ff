"""Starts the plugin, which is one file: a zip archive with its packages.

pydantic's core is compiled, so the archive has one for each version of Python. Once per user and version, the packages are unpacked
into the user's cache, from where Python loads them faster than from the archive, and can load the compiled one at all.
"""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path


def main() -> int:
    """Make the packages importable, and run the plugin."""
    me = Path(sys.argv[0]).name
    archive = Path(__file__).parent
    built = importlib.machinery.EXTENSION_SUFFIXES[0].split(".")[1]
    with zipfile.ZipFile(archive) as opened:
        names = [each for each in opened.namelist() if each.startswith(("packages/any/", f"packages/{built}/"))]
        if not any(each.startswith(f"packages/{built}/") for each in names):
            known = sorted({each.split("/")[1] for each in opened.namelist() if each.startswith("packages/cpython")})
            print(f"{me}: this Python is {built}; required: one of {', '.join(known)}", file=sys.stderr)
            return 2
        home = cache() / f"{opened.read('id').decode()}-{built}"
        if not (trusted(home.parent) and trusted(home)):
            home = unpacked(opened, names, home)
    sys.path.insert(0, str(home))
    if me.startswith("kubectl_complete-"):
        from refresh_cli.complete import main as complete

        return complete()
    from refresh_cli.__main__ import main as plugin

    return plugin()


def cache() -> Path:
    """Return the folder below which the packages are unpacked."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "kubectl-dashboardrefresh"


def trusted(home: Path) -> bool:
    """Return whether the folder exists, belongs to this user, and nobody else can write to it."""
    try:
        found = home.lstat()
    except OSError:
        return False
    return home.is_dir() and not home.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & 0o022


def unpacked(opened: zipfile.ZipFile, names: list[str], home: Path) -> Path:
    """Unpack the packages into the cache, and return where they are; into a folder for this call alone if the cache cannot be written."""
    try:
        home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=home.parent))
    except OSError:
        return unpacked_once(opened, names)
    if not trusted(home.parent):
        shutil.rmtree(draft)
        return unpacked_once(opened, names)
    extract(opened, names, draft)
    try:
        draft.rename(home)
    except OSError:
        shutil.rmtree(draft)
        return home if trusted(home) else unpacked_once(opened, names)
    return home


def unpacked_once(opened: zipfile.ZipFile, names: list[str]) -> Path:
    """Unpack the packages into a folder that is removed when this call ends."""
    import atexit

    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    extract(opened, names, place)
    return place


def extract(opened: zipfile.ZipFile, names: list[str], place: Path) -> None:
    """Extract files by their names without the first two parts: the packages and what is compiled for this Python become one folder."""
    for name in names:
        file = place.joinpath(*name.split("/")[2:])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(opened.read(name))


if __name__ == "__main__":
    sys.exit(main())
