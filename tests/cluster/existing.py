"""A cluster that the user has: nothing is created in it here, and nothing of it is ever removed."""

import shutil
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
    """The cluster that KUBECONFIG leads to; its nodes must be able to pull the images named by the REFRESH_IMAGE_* variables."""

    kind = "existing"

    def __init__(self, paths: Paths, name: str, environment: Mapping[str, str]) -> None:
        self._paths = paths
        self._environment = environment
        self.home = paths.clusters / name

    @property
    def kubeconfig(self) -> Path:
        """The user's own."""
        return Path(self._environment.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    def up(self) -> None:
        """Check that it answers."""
        tools(self._paths)
        record_kind(self.home, self.kind)
        if not self.alive():
            raise ClusterError(
                f"the cluster of {self.kubeconfig} does not answer", "set KUBECONFIG, or REFRESH_CLUSTER to another kind of cluster"
            )
        link_suitable_kubectl(self._paths, self.kubeconfig)

    def alive(self) -> bool:
        """Whether it answers."""
        return reachable(str(self._paths.tools / "kubectl"), self.kubeconfig)

    def load(self) -> dict[str, str]:
        """The references that the user names; pushing them where the nodes can pull is the user's part."""
        return image_references(self._environment)

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Lead a port of this machine to a Service."""
        return Forwards(self.home, str(self._paths.tools / "kubectl")).open(self.kubeconfig, service, namespace, port, host_port)

    def down(self) -> None:
        """End the forwarded ports; the cluster stays as it is."""
        Forwards(self.home, "kubectl").close()
        shutil.rmtree(self.home, ignore_errors=True)


def image_references(environment: Mapping[str, str]) -> dict[str, str]:
    """The images' references, from the environment."""
    missing = [variable for variable in VARIABLES.values() if not environment.get(variable)]
    if missing:
        raise ClusterError(
            f"{', '.join(missing)} not set",
            "push the images where the cluster's nodes can pull them (DOCKER_BUILDKIT=1 docker build --target operator …) and name them",
        )
    return {name: environment[variable] for name, variable in VARIABLES.items()}
