"""Debian packages that are unpacked without being installed: nothing is started, and the system is not changed."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ClusterError

_LIMIT = 600.0  # seconds


def unpack(names: Sequence[str], folder: Path, remedy: str) -> list[Path]:
    """Download packages with apt into a folder, and unpack them into `root` there; return their archives.

    The first must exist; the others may be part of it, or of the system, in another release of Debian. ClusterError with `remedy` if the
    download fails.
    """
    first, *others = names
    done = _apt(folder, "download", first)
    if done.returncode != 0:  # without package lists, or with old ones
        _apt(folder, "update")
        done = _apt(folder, "download", first)
    if done.returncode != 0:
        raise ClusterError(f"apt-get download {first} failed: {done.stderr.strip()[-500:]}", remedy)
    for name in others:
        _apt(folder, "download", name)
    archives = sorted(folder.glob("*.deb"))
    for archive in archives:
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder / "root")], check=True, timeout=_LIMIT)
    return archives


def _apt(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False)
