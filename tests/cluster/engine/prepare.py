"""Preparation of a machine without Docker for kind: engine, images and programs, so that nothing is downloaded later."""

import subprocess
import sys

from cluster.builders import Docker
from cluster.embedded.binaries import KIND, build
from cluster.engine.engine import Engine
from cluster.errors import ClusterError
from cluster.images import IMAGES
from cluster.kind import tools
from cluster.paths import Paths

_BUILD_LIMIT = 3600.0  # seconds


def bring_up(engine: Engine, paths: Paths) -> None:
    """Start the engine with all images; missing images are built first, in the machine's network."""
    build(KIND, paths.cache)
    tools(paths)
    engine.up(closed=True)
    engine.load_archives()
    if not _has_images(engine, paths):
        engine.up(closed=False)
        _build(engine, paths)
        engine.up(closed=True)


def _has_images(engine: Engine, paths: Paths) -> bool:
    environment = engine.environment()
    base = Docker(paths, environment).base()
    names = [f"{image.name}:{image.tag(paths.checkout, base)}" for image in IMAGES]
    command = ["docker", "image", "inspect", *names]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode == 0


def _build(engine: Engine, paths: Paths) -> None:
    # a command of its own, since the environment leads to the engine
    environment = {**engine.environment(), "REFRESH_BUILD_NETWORK": "host", "PYTHONPATH": str(paths.checkout / "tests")}
    command = [sys.executable, "-m", "cluster", "build-images"]
    done = subprocess.run(command, env=environment, cwd=paths.checkout, timeout=_BUILD_LIMIT, check=False)
    if done.returncode != 0:
        raise ClusterError("the images cannot be built", "see the message above")
