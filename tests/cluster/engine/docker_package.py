"""Docker from Debian's packages, unpacked without being installed: nothing is started, and the system is not changed."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.debian_packages import unpack
from cluster.errors import ClusterError
from cluster.once import made_once

# newer releases of Debian have the command line and the plugin in packages of their own
_PACKAGES = ("docker.io", "docker-cli", "docker-buildx")
_PROGRAMS = {
    "usr/bin/docker": "docker",
    "usr/sbin/dockerd": "dockerd",
    "usr/bin/docker-proxy": "docker-proxy",
    "usr/sbin/docker-proxy": "docker-proxy",
}
_BUILDX = "usr/libexec/docker/cli-plugins/docker-buildx"


def docker_programs(cache: Path) -> Path:
    """Return the folder with `docker`, `dockerd` and `docker-proxy`, from `cache` or downloaded by apt."""
    folder = cache / "docker"
    return made_once(folder, cache / "docker.lock", lambda: _unpack(folder))


def _unpack(folder: Path) -> None:
    print("cluster: downloading Docker's Debian packages, once (half a minute)", flush=True)
    with TemporaryDirectory(dir=folder.parent) as place:
        root = Path(place) / "root"
        archives = unpack(_PACKAGES, Path(place), "install Docker on this machine instead")
        draft = Path(place) / "draft"
        (draft / "config" / "cli-plugins").mkdir(parents=True)
        for source, name in _PROGRAMS.items():
            if (root / source).exists():
                shutil.copy2(root / source, draft / name)
        if (root / _BUILDX).exists():
            shutil.copy2(root / _BUILDX, draft / "config" / "cli-plugins" / "docker-buildx")
        missing = sorted({name for name in _PROGRAMS.values() if not (draft / name).exists()})
        if missing:
            raise ClusterError(f"the Debian packages {', '.join(archive.name for archive in archives)} lack {', '.join(missing)}")
        shown = subprocess.run([str(draft / "dockerd"), "--version"], capture_output=True, text=True, timeout=60, check=False)
        if shown.returncode != 0:
            raise ClusterError(f"Debian's dockerd does not start: {shown.stderr.strip()}", "install Docker on this machine instead")
        draft.rename(folder)
    print(f"cluster: {shown.stdout.strip()}", flush=True)
