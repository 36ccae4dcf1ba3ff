"""The two programs that build images: buildah, with a store of this checkout's own, and docker."""

import shutil
import subprocess
from pathlib import Path

from cluster.base_image import base_archive, base_key
from cluster.errors import ClusterError
from cluster.images import Image, run_build
from cluster.mirror import Mirror
from cluster.overlay import can_overlay
from cluster.paths import Paths

_KEPT = 3  # archives of an image, since another command may be about to load one that is no longer the newest
_LATEST = "dev"  # the tag that manifests name beside the exact one


class Buildah:
    """Builds into archives below `.state/images`; its store is there too, apart from the system's."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._store = paths.images / "store"
        self._base = f"localhost/refresh-base:{base_key()}"

    def base(self) -> str:
        """The name of the base image, which has its content's hash in it."""
        return self._base

    def archive(self, image: Image, tag: str) -> Path:
        """Where the image's archive is, or will be."""
        return self._paths.images / f"{image.name}-{tag}.tar"

    def has(self, image: Image, tag: str) -> bool:
        """Whether the archive is there."""
        return self.archive(image, tag).exists()

    def build(self, image: Image, tag: str, mirror: Mirror, secrets: list[str], log: Path) -> None:
        """Build the archive; older ones of the same image are removed."""
        if shutil.which("buildah") is None:
            raise ClusterError("buildah is missing", "apt-get install buildah")
        self._make_base(log)
        target = ["--target", image.target] if image.target else []
        command = self._buildah(
            "bud",
            "--layers",
            "--format=docker",  # the other one knows no SHELL
            # the host's own network and no runtime: the build needs the package mirror and nothing else
            "--isolation=chroot",
            "--network=host",
            "--pull-never",
            f"--build-arg=BASE_IMAGE={self._base}",
            *(f"--build-arg={name}={value}" for name, value in mirror.proxies),
            *(f"--secret={secret}" for secret in secrets),
            *target,
            f"--file={self._paths.checkout / image.dockerfile}",
            f"--tag=docker.io/library/{image.name}:{tag}",
            str(self._paths.checkout),
        )
        run_build(command, log, image.name)
        self._save(image, tag, log)

    def extend(self, reference: str, folder: Path, log: Path) -> None:
        """Build what users make of an image of ours: `folder` has their Dockerfile, which takes ours as RUNNER. It is not kept."""
        store = ["bud", "--isolation=chroot", "--network=host", "--pull-never", "--iidfile", str(log.with_suffix(".id"))]
        run_build(self._buildah(*store, f"--build-arg=RUNNER=docker.io/library/{reference}", str(folder)), log, folder.name)
        run_build(self._buildah("rmi", log.with_suffix(".id").read_text().strip()), log.with_suffix(".rmi"), folder.name)

    def _save(self, image: Image, tag: str, log: Path) -> None:
        draft = self.archive(image, tag).with_suffix(".draft")
        draft.unlink(missing_ok=True)
        name = f"docker.io/library/{image.name}"
        push = self._buildah("push", "--quiet", f"{name}:{tag}", f"docker-archive:{draft}:{name}:{tag}")
        run_build(push, log, image.name)
        draft.replace(self.archive(image, tag))
        archives = sorted(self._paths.images.glob(f"{image.name}-*.tar"), key=lambda each: each.stat().st_mtime)
        for old in archives[:-_KEPT]:
            old.unlink()

    def _make_base(self, log: Path) -> None:
        present = subprocess.run(self._buildah("images", "--quiet", self._base), capture_output=True, check=False, timeout=60)
        if present.returncode == 0 and present.stdout.strip():
            return
        root = base_archive(self._paths.cache)
        container = f"refresh-base-{base_key()}"
        subprocess.run(self._buildah("rm", container), capture_output=True, check=False, timeout=60)  # left by a build that was killed
        for arguments in (
            ["from", "--name", container, "scratch"],
            ["add", container, str(root), "/"],
            ["commit", "--quiet", "--rm", container, self._base],
        ):
            run_build(self._buildah(*arguments), log, "the base image")

    def _buildah(self, *arguments: str) -> list[str]:
        # a mount namespace of its own: what buildah mounts is gone when it ends, also if it is killed
        place = ["unshare", "--mount", "buildah", f"--root={self._store}", f"--runroot={self._paths.images / 'run'}"]
        return [*place, f"--storage-driver={_driver(self._store)}", *arguments]


class Docker:
    """Builds into the Docker engine, whose images stay when clusters go."""

    def base(self) -> str:
        """The Dockerfile's own, which is in it by its digest."""
        return ""

    def has(self, image: Image, tag: str) -> bool:
        """Whether the engine has it."""
        return (
            subprocess.run(["docker", "image", "inspect", f"{image.name}:{tag}"], capture_output=True, check=False, timeout=60).returncode
            == 0
        )

    def build(self, image: Image, tag: str, mirror: Mirror, secrets: list[str], log: Path) -> None:
        """Build and tag it."""
        target = [f"--target={image.target}"] if image.target else []
        command = [
            "docker",
            "build",
            *(f"--build-arg={name}={value}" for name, value in mirror.proxies),
            *(f"--secret={secret}" for secret in secrets),
            *target,
            f"--tag={image.name}:{tag}",
            f"--tag={image.name}:{_LATEST}",
            f"--file={image.dockerfile}",
            ".",
        ]
        run_build(command, log, image.name)


def _driver(store: Path) -> str:
    """overlay where the file system below the store can carry it, else plain copies; what a store began with it keeps."""
    for driver in ("overlay", "vfs"):
        if (store / f"{driver}-images").exists():
            return driver
    store.mkdir(parents=True, exist_ok=True)
    return "overlay" if can_overlay(store) else "vfs"
