"""The locale fr_FR.UTF-8, compiled once from Debian's package `locales`, for a server that runs as another user."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster.paths import paths_of

NAME: Final = "fr_FR.UTF-8"
_LIMIT: Final = 240
"""Seconds; it takes five on an idle machine."""


@contextmanager
def french() -> Iterator[Path | None]:
    """Yield a folder for LOCPATH that every user can read; None where the machine cannot compile the locale."""
    compiled = _compiled(paths_of(os.environ).cache / "locales")
    if compiled is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="refresh-locales-"))
    try:
        folder.chmod(0o755)
        shutil.copytree(compiled, folder / NAME)
        yield folder
    finally:
        shutil.rmtree(folder)


def _compiled(cache: Path) -> Path | None:
    if shutil.which("localedef") is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    place, draft = cache / NAME, cache / f"{NAME}.draft"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            shutil.rmtree(draft, ignore_errors=True)
            command = ["localedef", "-i", "fr_FR", "-f", "UTF-8", str(draft)]
            if subprocess.run(command, capture_output=True, timeout=_LIMIT, check=False).returncode != 0:
                return None
            draft.replace(place)
    return place
