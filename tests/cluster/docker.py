"""The Docker command line: whether an engine answers, and whether BuildKit can build with it, which the Dockerfiles require."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_BUILT_IN = (18, 9)  # the first version whose command line has BuildKit, if DOCKER_BUILDKIT=1
_BY_PLUGIN = (23, 0)  # from here on `docker build` with BuildKit is the plugin buildx
_LIMIT = 5.0  # seconds


@dataclass(frozen=True)
class DockerCommand:
    """Version and plugins of the `docker` command on the PATH."""

    version: tuple[int, int] | None
    buildx: bool

    @property
    def text(self) -> str:
        """Return version and plugin for a line of the preflight."""
        version = ".".join(map(str, self.version)) if self.version else "unknown version"
        return f"docker {version}, {'with' if self.buildx else 'without'} buildx"


def remedy_for_buildkit(command: DockerCommand) -> str:
    """Return what to do so that `docker build` uses BuildKit; empty if it does. The Dockerfiles mount secrets, which only BuildKit can."""
    if command.buildx or command.version is None or _BUILT_IN <= command.version < _BY_PLUGIN:
        return ""
    if command.version < _BUILT_IN:
        return f"install Docker {_BY_PLUGIN[0]} or newer with its plugin buildx"
    return "install the plugin buildx: apt-get install docker-buildx-plugin (from Docker's packages) or docker-buildx (from Debian's)"


def docker_answers() -> bool:
    """Return whether a Docker engine answers within five seconds."""
    return _answer("info") is not None


def docker_command() -> DockerCommand:
    """Return version and plugins of the `docker` command on the PATH."""
    found = re.search(r"(\d+)\.(\d+)", _answer("--version") or "")
    return DockerCommand((int(found[1]), int(found[2])) if found else None, _answer("buildx", "version") is not None)


def with_buildkit(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for `docker build`: versions before 23 use BuildKit only if they are told to."""
    return {**environment, "DOCKER_BUILDKIT": "1"}


def _answer(*arguments: str) -> str | None:
    if shutil.which("docker") is None:
        return None
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
