"""Wheels of the distributions that users install with pip: the contract, and the plugin, which is a command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from release.archives import EARLIEST, files_below, unzipped, zip_of

DISTRIBUTIONS = ("crds", "cli")


def put_wheels(root: Path, folder: Path, epoch: int) -> None:
    """Write a wheel of each distribution."""
    folder.mkdir()
    for each in DISTRIBUTIONS:
        with TemporaryDirectory() as place:
            built = _built(root / each, Path(place), epoch)
            (folder / built.name).write_bytes(zip_of(unzipped(built), epoch))


def _built(distribution: Path, place: Path, epoch: int) -> Path:
    """Build a wheel from a copy, since setuptools would add what an earlier build has left beside the sources."""
    for name, content in files_below(distribution).items():
        file = place / "sources" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [*pip, "--wheel-dir", str(place), str(place / "sources")]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(max(epoch, EARLIEST))}
    subprocess.run(command, check=True, timeout=300, env=environment)
    (wheel,) = place.glob("*.whl")
    return wheel
