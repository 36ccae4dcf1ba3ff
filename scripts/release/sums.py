"""Checksums of all files of a folder, and their signature."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Final

SUMS: Final = "SHA256SUMS"
NAMESPACE: Final = "dashboard-refresh"
"""What the signature is for: one made for something else is no signature of a release."""


def files_of(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted."""
    return sorted(each for each in folder.rglob("*") if each.is_file())


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check` reads."""
    (folder / SUMS).write_text("".join(f"{digest_of(each)}  {each.relative_to(folder)}\n" for each in files_of(folder)))


def sign(folder: Path, key: Path) -> None:
    """Sign the checksums with an SSH key, which may be in an agent or on a token; the signature is in SHA256SUMS.sig."""
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(folder / SUMS)], check=True, timeout=120)


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
