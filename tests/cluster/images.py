"""The images, which are built only if their sources have changed."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from cluster.errors import ClusterError
from cluster.mirror import Mirror, mirror_of, parse_pip_config
from cluster.once import exclusive, run_logged
from cluster.paths import Paths

BUILD_LIMIT = 1200.0  # seconds
_IGNORED = {"__pycache__", "build", "dist", "target", "logs", "node_modules"}


@dataclass(frozen=True)
class Image:
    """An image: its name, its Dockerfile with the target, and the sources whose change requires a new build."""

    name: str
    dockerfile: str
    target: str
    sources: tuple[str, ...]

    def tag(self, checkout: Path, base: str) -> str:
        """Return the image's tag: a hash of its sources and its base."""
        digest = hashlib.sha256(base.encode())
        for file in _files(checkout, [self.dockerfile, "requirements/build.txt", *self.sources]):
            digest.update(str(file.relative_to(checkout)).encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


OPERATOR = Image("refresh-operator", "Dockerfile", "operator", ("requirements/operator.txt", "crds", "notify", "operator"))
RUNNER = Image("refresh-runner", "Dockerfile", "runner", ("requirements/runner.txt", "crds", "notify", "runner", "dbt_project"))
PAGE = Image("refresh-page", "Dockerfile", "page", ("requirements/page.txt", "crds", "page"))
EXAMPLES = Image("refresh-examples", "examples/Dockerfile", "", ("requirements/examples.txt", "requirements/dashboards.txt", "examples"))
IMAGES = (OPERATOR, RUNNER, PAGE, EXAMPLES)


class Builder(Protocol):
    """A program that builds images from Dockerfiles: buildah or docker."""

    def base(self) -> str:
        """Return the base of all images; its change requires a new build of all images."""

    def has(self, image: Image, tag: str) -> bool:
        """Return whether the image exists."""

    def build(self, image: Image, tag: str, mirror: Mirror, secrets: list[str], log: Path) -> None:
        """Build the image; raise ClusterError with the end of the log if that fails."""


def build_images(paths: Paths, builder: Builder) -> dict[str, str]:
    """Build the changed images; return the references of all images by name, and write them to `.state/images/images.json`."""
    with exclusive(paths.images / "build.lock"):
        references = {image.name: _build(image, paths, builder) for image in IMAGES}
        (paths.images / "images.json").write_text(json.dumps(references, indent=1))
    return references


def references(paths: Paths) -> dict[str, str]:
    """Return the references of the images that were built last."""
    try:
        return {str(name): str(reference) for name, reference in json.loads((paths.images / "images.json").read_text()).items()}
    except FileNotFoundError as error:
        raise ClusterError("no images were built yet", "python -m cluster build-images") from error


def run_build(command: list[str], log: Path, name: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command of a builder, with its output in `log`."""
    log.unlink(missing_ok=True)
    run_logged(command, log, BUILD_LIMIT, f"building {name}", f"the whole log is {log}", environment=environment)


def _build(image: Image, paths: Paths, builder: Builder) -> str:
    tag = image.tag(paths.checkout, builder.base())
    if not builder.has(image, tag):
        print(f"cluster: building the image {image.name} (about a minute when its requirements changed)", flush=True)
        started = time.monotonic()
        with _secrets() as (mirror, secrets):
            builder.build(image, tag, mirror, secrets, paths.images / f"{image.name}.log")
        print(f"cluster: {image.name}:{tag} built in {time.monotonic() - started:.0f} s", flush=True)
    return f"{image.name}:{tag}"


@contextmanager
def _secrets() -> Iterator[tuple[Mirror, list[str]]]:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    mirror = mirror_of(parse_pip_config(listing), os.environ)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "pip.conf"
        file.write_text(mirror.pip_conf)
        npmrc = Path(folder) / "npmrc"
        registry = os.environ.get("NPM_CONFIG_REGISTRY")
        npmrc.write_text(f"registry={registry}\n" if registry else "")
        yield mirror, [f"id=pip_conf,src={file}", f"id=npmrc,src={npmrc}", *([f"id=ca,src={mirror.ca}"] if mirror.ca else [])]


def _files(checkout: Path, sources: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        place = checkout / source
        below = place.rglob("*") if place.is_dir() else [place]
        found += [file for file in below if file.is_file() and not _is_left_out(file.relative_to(checkout))]
    return sorted(found)


def _is_left_out(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part in _IGNORED or part.endswith(".egg-info") for part in path.parts)
