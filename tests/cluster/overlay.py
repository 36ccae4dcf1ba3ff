"""A check for overlay mounts, which make containers and image builds fast."""

import shutil
import subprocess
from pathlib import Path


def can_overlay(folder: Path) -> bool:
    """Return whether an overlay can be mounted on files below `folder`, by trying it."""
    trial = folder / "overlay-trial"
    for name in ("lower", "upper", "work", "merged"):
        (trial / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
    mount = ["unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", f"{trial}/merged"]
    works = subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode == 0
    shutil.rmtree(trial)
    return works
