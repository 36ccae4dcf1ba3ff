"""What `make clean` does not remove, because other checkouts may use it or it belongs to a cluster of the user."""

import subprocess
from collections.abc import Sequence

from cluster.docker import docker_answers
from cluster.homes import recorded_kind
from cluster.images import IMAGES
from cluster.paths import Paths

_LIMIT = 30.0  # seconds


def remains(paths: Paths) -> list[str]:
    """Return a line for each thing that is not removed, with the command that removes it."""
    existing = any(recorded_kind(home) == "existing" for home in paths.clusters.glob("*"))
    if not docker_answers():
        return lines(existing=existing, images=[], network=False)
    images = [name for image in IMAGES for name in _docker("image", "ls", f"--filter=reference={image.name}", _NAME)]
    return lines(existing=existing, images=images, network=bool(_docker("network", "ls", "--filter=name=^kind$", "--format={{.Name}}")))


def lines(*, existing: bool, images: Sequence[str], network: bool) -> list[str]:
    """Return the lines for what was found."""
    found = []
    if existing:
        found.append("on the cluster of KUBECONFIG: what was installed there; make clean CLUSTER=existing removes the demo")
    if images:
        found.append(f"in Docker, for all checkouts: {len(images)} images; docker image rm {' '.join(images)}")
    if network:
        found.append("in Docker, for all kind clusters: the network kind; docker network rm kind")
    return found


_NAME = "--format={{.Repository}}:{{.Tag}}"


def _docker(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=_LIMIT, check=False).stdout.split()
