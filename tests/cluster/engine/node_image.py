"""The image of kind's nodes, from Debian packages and upstream Go modules, for machines that cannot pull kind's own image."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from cluster.debian import debian_mirror
from cluster.embedded.binaries import COREDNS, KIND, KUBE, KUBEADM, KUBERNETES, NODE, build, module_folder
from cluster.engine.archive import LayeredImage, write_archive
from cluster.errors import ClusterError
from cluster.once import made_once, run_logged

_SUITE = "bookworm"
_HERE = Path(__file__).parent
_ROOT_SCRIPT, _IMAGES_SCRIPT = _HERE / "node-root.sh", _HERE / "node-images.sh"
_PROGRAMS = (KUBE, KUBEADM, COREDNS, NODE, KIND)
_LIMIT = 1800.0  # seconds
# what `docker import` adds; kind starts its nodes without a command
CHANGES = ("ENV container=docker", 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]')


def node_key() -> str:
    """Return a hash of everything that the image is built from."""
    digest = hashlib.sha256(" ".join([_SUITE, *(program.key() for program in _PROGRAMS)]).encode())
    for file in (_ROOT_SCRIPT, _IMAGES_SCRIPT):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def node_reference() -> str:
    """Return the image's name."""
    return f"refresh-kind-node:{node_key()}"


def node_archive(cache: Path) -> Path:
    """Return the node's root file system as a tar, from `cache` or built by debootstrap (needs root, takes minutes)."""
    archive = cache / f"kind-node-{node_key()}.tar"
    return made_once(archive, cache / "kind-node.lock", lambda: _make(archive, cache))


def _make(archive: Path, cache: Path) -> None:
    programs = {program.name: build(program, cache) for program in _PROGRAMS}
    files = module_folder(KIND, "sigs.k8s.io/kind", cache) / "images" / "base" / "files"
    print("cluster: making the image of kind's nodes, once: Debian, containerd and Kubernetes (5 minutes)", flush=True)
    started = time.monotonic()
    place, log = cache / f"kind-node.{os.getpid()}", cache / "kind-node.log"
    log.unlink(missing_ok=True)
    names = image_names(programs["kubeadm"])
    pause = next(name for name in names if "/pause:" in name)
    try:
        place.mkdir()
        words = [_SUITE, debian_mirror(), str(files), *(str(programs[name]) for name in ("kube", "kubeadm", "coredns")), KUBERNETES, pause]
        _isolated([str(_ROOT_SCRIPT), str(place / "root"), str(place / "layer"), *words], log)
        (place / "pause").mkdir()
        shutil.copy2(programs["node"], place / "pause" / "pause")
        layers = {name: _tarred(place / name) for name in ("layer", "pause")}
        write_archive(place / "images.tar", images_of(names, layers["layer"], layers["pause"]))
        _isolated([str(_IMAGES_SCRIPT), str(place / "root"), str(place / "images.tar")], log, "--net")
        draft = _tarred(place / "root", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./run/*")
        draft.replace(archive)
        for old in cache.glob("kind-node-*.tar"):
            if old != archive:
                old.unlink()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"cluster: image of kind's nodes made in {time.monotonic() - started:.0f} s", flush=True)


def image_names(kubeadm: Path) -> list[str]:
    """Return the names of the images that kubeadm starts."""
    command = [str(kubeadm), "config", "images", "list", f"--kubernetes-version=v{KUBERNETES}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise ClusterError(f"kubeadm does not list its images: {done.stderr.strip()}")
    return done.stdout.split()


def images_of(names: list[str], layer: Path, pause: Path) -> list[LayeredImage]:
    """Return the images with these names: `pause` has its own layer, CoreDNS its own entrypoint, and all others are the same image."""
    special = {name: name.rpartition(":")[0].rpartition("/")[2] for name in names}
    others = tuple(name for name in names if special[name] not in ("pause", "coredns"))
    dns, sandbox = (tuple(name for name in names if special[name] == which) for which in ("coredns", "pause"))
    return [LayeredImage(others, layer), LayeredImage(dns, layer, ("/coredns",)), LayeredImage(sandbox, pause, ("/pause",))]


def _isolated(command: list[str], log: Path, *namespaces: str) -> None:
    # mounts and processes end with the command, even if it is killed
    outer = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *namespaces]
    run_logged([*outer, *command], log, _LIMIT, "making the image of kind's nodes", f"the whole log is {log}")


def _tarred(folder: Path, *options: str) -> Path:
    archive = folder.with_suffix(".tar")
    command = ["tar", "--create", "--numeric-owner", f"--file={archive}", f"--directory={folder}", *options, "."]
    subprocess.run(command, check=True, timeout=_LIMIT)
    return archive
