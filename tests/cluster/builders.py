"""The two programs that build images: buildah, with a store in this checkout, and docker."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.base_image import base_archive, base_key
from cluster.docker import with_buildkit
from cluster.errors import ClusterError
from cluster.images import Image, run_build
from cluster.mirror import Mirror
from cluster.overlay import can_overlay
from cluster.paths import Paths

_KEPT = 3  # several archives of an image are kept, since another command may be about to load an older one
_LATEST = "dev"  # the tag in manifests, in addition to the exact one


class Buildah:
    """Builds archives below `.state/images`, with its own store next to them."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._store = paths.images / "store"
        self._base = f"localhost/refresh-base:{base_key()}"

    def base(self) -> str:
        """Return the name of the base image, which contains its hash."""
        return self._base

    def archive(self, image: Image, tag: str) -> Path:
        """Return the path of the image's archive."""
        return self._paths.images / f"{image.name}-{tag}.tar"

    def has(self, image: Image, tag: str) -> bool:
        """Return whether the archive exists."""
        return self.archive(image, tag).exists()

    def build(self, image: Image, tag: str, mirror: Mirror, secrets: list[str], log: Path) -> None:
        """Build the archive and remove older ones of the same image."""
        if shutil.which("buildah") is None:
            raise ClusterError("buildah is missing", "apt-get install buildah")
        self._make_base(log)
        target = ["--target", image.target] if image.target else []
        command = self._buildah(
            "bud",
            "--layers",
            "--format=docker",  # the OCI format has no SHELL
            # host network and no runtime: the build needs the package mirror only
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
        """Build a user's image from ours: `folder` has its Dockerfile with the build argument RUNNER. The image is not kept."""
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
        # in a mount namespace, so that mounts of buildah end with it, even if it is killed
        place = ["unshare", "--mount", "buildah", f"--root={self._store}", f"--runroot={self._paths.images / 'run'}"]
        return [*place, f"--storage-driver={_driver(self._store)}", *arguments]


class Docker:
    """Builds into the Docker engine, whose images survive clusters.

    REFRESH_BASE_IMAGE is built on instead of the Dockerfiles' own base; REFRESH_BUILD_NETWORK is the network of builds.
    """

    def __init__(self, paths: Paths, environment: Mapping[str, str] = os.environ) -> None:
        self._paths = paths
        self._environment = environment

    def base(self) -> str:
        """Return the base that is named, or empty for the Dockerfile's own, pinned by digest."""
        return self._environment.get("REFRESH_BASE_IMAGE", "")

    def has(self, image: Image, tag: str) -> bool:
        """Return whether the engine has the image."""
        return (
            subprocess.run(["docker", "image", "inspect", f"{image.name}:{tag}"], capture_output=True, check=False, timeout=60).returncode
            == 0
        )

    def build(self, image: Image, tag: str, mirror: Mirror, secrets: list[str], log: Path) -> None:
        """Build and tag the image."""
        base = self.base()
        command = [
            *self._start(),
            *([f"--build-arg=BASE_IMAGE={base}"] if base else []),
            *(f"--build-arg={name}={value}" for name, value in mirror.proxies),
            *(f"--secret={secret}" for secret in secrets),
            *([f"--target={image.target}"] if image.target else []),
            f"--tag={image.name}:{tag}",
            f"--tag={image.name}:{_LATEST}",
            f"--file={self._paths.checkout / image.dockerfile}",
            str(self._paths.checkout),
        ]
        run_build(command, log, image.name, with_buildkit(self._environment))

    def archive(self, image: Image, tag: str) -> Path:
        """Write an archive of the image, for tests that read its files; return its path. Older archives are removed."""
        archive = self._paths.images / f"{image.name}-{tag}.saved"
        if not archive.exists():
            for old in self._paths.images.glob(f"{image.name}-*.saved"):
                old.unlink()
            draft = archive.with_suffix(".draft")
            run_build(["docker", "save", f"--output={draft}", f"{image.name}:{tag}"], draft.with_suffix(".log"), image.name)
            draft.replace(archive)
        return archive

    def extend(self, reference: str, folder: Path, log: Path) -> None:
        """Build a user's image from ours: `folder` has its Dockerfile with the build argument RUNNER. The image is not kept."""
        identity = log.with_suffix(".id")
        command = [*self._start(), "--no-cache", f"--build-arg=RUNNER={reference}", f"--iidfile={identity}", str(folder)]
        run_build(command, log, folder.name, with_buildkit(self._environment))
        run_build(["docker", "image", "rm", identity.read_text().strip()], log.with_suffix(".rmi"), folder.name)

    def _start(self) -> list[str]:
        network = self._environment.get("REFRESH_BUILD_NETWORK")
        return ["docker", "build", "--progress=plain", *([f"--network={network}"] if network else [])]


def _driver(store: Path) -> str:
    """Return overlay where the file system supports it, else plain copies; an existing store keeps its driver."""
    for driver in ("overlay", "vfs"):
        if (store / f"{driver}-images").exists():
            return driver
    store.mkdir(parents=True, exist_ok=True)
    return "overlay" if can_overlay(store) else "vfs"
