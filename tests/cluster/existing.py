"""An existing cluster of the user. This module creates nothing in it, and removes nothing from it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import ClusterError
from cluster.forwards import Forwards
from cluster.homes import record_kind
from cluster.images import IMAGES
from cluster.kind import reachable, tools
from cluster.kubectl import link_suitable_kubectl
from cluster.paths import Paths

VARIABLES = {image.name: f"REFRESH_IMAGE_{image.name.removeprefix('refresh-').upper()}" for image in IMAGES}


class ExistingCluster:
    """The cluster of KUBECONFIG. Its nodes must be able to pull the images that the REFRESH_IMAGE_* variables name."""

    kind = "existing"

    def __init__(self, paths: Paths, name: str, environment: Mapping[str, str]) -> None:
        self._paths = paths
        self._environment = environment
        self.home = paths.clusters / name

    @property
    def kubeconfig(self) -> Path:
        """The user's kubeconfig; if KUBECONFIG is a list of files, the merged file that `up` writes."""
        files = _listed(self._environment)
        return files[0] if len(files) == 1 else self.home / "kubeconfig"

    def up(self) -> None:
        """Check that the API server answers."""
        tools(self._paths)
        record_kind(self.home, self.kind)
        self._merge()
        if not self.alive():
            raise ClusterError(
                f"the cluster of {self.kubeconfig} does not answer", "set KUBECONFIG, or REFRESH_CLUSTER to another kind of cluster"
            )
        link_suitable_kubectl(self._paths, self.kubeconfig)

    def _merge(self) -> None:
        files = _listed(self._environment)
        if len(files) == 1:
            return
        # kubectl and helm take one file by --kubeconfig; of the current context only, since the copy holds credentials
        command = [str(self._paths.tools / "kubectl"), "config", "view", "--raw", "--flatten", "--minify"]
        environment = {**os.environ, "KUBECONFIG": os.pathsep.join(map(str, files))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise ClusterError(f"the files of KUBECONFIG cannot be merged: {done.stderr.strip()}", "see `kubectl config view`")
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(done.stdout)

    def alive(self) -> bool:
        """Return whether the API server answers."""
        return reachable(str(self._paths.tools / "kubectl"), self.kubeconfig)

    def load(self) -> dict[str, str]:
        """Return the image references that the user has set; the user has to push the images where the nodes can pull them."""
        return image_references(self._environment)

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Forward a port of this machine to a Service."""
        return Forwards(self.home, str(self._paths.tools / "kubectl")).open(self.kubeconfig, service, namespace, port, host_port)

    def down(self) -> None:
        """Stop port forwarding; the cluster is not changed."""
        Forwards(self.home, "kubectl").close()
        shutil.rmtree(self.home, ignore_errors=True)


def _listed(environment: Mapping[str, str]) -> list[Path]:
    files = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    return files or [Path.home() / ".kube" / "config"]


def image_references(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the image references from the environment."""
    missing = [variable for variable in VARIABLES.values() if not environment.get(variable)]
    if missing:
        raise ClusterError(
            f"{', '.join(missing)} not set",
            "push the images where its nodes can pull them (DOCKER_BUILDKIT=1 docker build --target operator …) and name them",
        )
    return {name: environment[variable] for name, variable in VARIABLES.items()}
