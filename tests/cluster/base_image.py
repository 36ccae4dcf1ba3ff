"""A base image for machines without a registry: a minimal Debian with Python, used instead of python:3.13-slim."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from cluster.debian import debian_mirror
from cluster.once import made_once, run_logged

_SUITE = "trixie"  # its python3 is 3.13
_PACKAGES = ("python3", "python3-venv", "ca-certificates", "tzdata", "git", "openssh-client")
_LIMIT = 900.0  # in seconds
# files that a container never reads
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "var/cache/debconf",
)


def base_key() -> str:
    """Return a hash of everything that the base consists of."""
    return hashlib.sha256(" ".join([_SUITE, *_PACKAGES, *_LEFT_OUT]).encode()).hexdigest()[:12]


def base_archive(cache: Path) -> Path:
    """Return the base's root file system as a tar, from `cache` or built by debootstrap (needs root, takes about a minute)."""
    archive = cache / f"base-{_SUITE}-{base_key()}.tar"
    return made_once(archive, cache / "base.lock", lambda: _bootstrap(archive, cache))


def _bootstrap(archive: Path, cache: Path) -> None:
    mirror = debian_mirror()
    print(
        f"cluster: making the base image, once: Debian {_SUITE} with Python (about a minute; DEBIAN_MIRROR names another mirror)",
        flush=True,
    )
    started = time.monotonic()
    root, log = cache / f"base.{os.getpid()}", cache / "base.log"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(root), mirror]
    try:
        log.unlink(missing_ok=True)
        # in a mount namespace, so that mounts of debootstrap end with it, even if it is killed
        remedy = "apt-get install debootstrap debian-archive-keyring; set DEBIAN_MIRROR if this machine's own mirror lacks the suite"
        run_logged(["unshare", "--mount", *command], log, _LIMIT, "debootstrap", remedy)
        for path in _LEFT_OUT:
            shutil.rmtree(root / path, ignore_errors=True)
            (root / path).mkdir(parents=True)
        draft = archive.with_suffix(".draft")
        tar = [
            "tar",
            "--create",
            f"--file={draft}",
            f"--directory={root}",
            "--numeric-owner",
            "--exclude=./dev/*",
            "--exclude=./proc/*",
            "--exclude=./sys/*",
            ".",
        ]
        subprocess.run(tar, check=True, timeout=_LIMIT)
        draft.replace(archive)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"cluster: base image made in {time.monotonic() - started:.0f} s", flush=True)
