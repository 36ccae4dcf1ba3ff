"""The embedded cluster, as the launcher uses it: it builds programs, installs Debian packages, and loads images from archives."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.builders import Buildah
from cluster.embedded.binaries import COREDNS, HELM_PROGRAM, KUBE, KUBE_ROUTER, NODE, build, link_tools, place_of
from cluster.embedded.full import EmbeddedCluster, Programs
from cluster.errors import ClusterError
from cluster.images import IMAGES, build_images
from cluster.paths import Paths
from cluster.preflight import ensure


class LocalCluster:
    """One embedded cluster of this checkout."""

    kind = "embedded"

    def __init__(self, paths: Paths, name: str) -> None:
        self._paths = paths
        self.cluster = EmbeddedCluster(paths.clusters / name)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.cluster.kubeconfig

    def up(self) -> None:
        """Start the cluster; its programs are built first, once per machine."""
        if self.cluster.alive():
            return
        ensure(self._paths, "embedded")
        with _images_beside(self._paths):
            self.cluster.up(build_programs(self._paths))

    def alive(self) -> bool:
        """Return whether the API server answers."""
        return self.cluster.alive()

    def load(self) -> dict[str, str]:
        """Build the changed images, and import those that the node does not have."""
        ensure(self._paths, "embedded")
        builder = Buildah(self._paths)
        references = build_images(self._paths, builder)
        present = self.cluster.images()
        for image in IMAGES:
            reference = references[image.name]
            if f"docker.io/library/{reference}" not in present:
                self.cluster.load_image(builder.archive(image, reference.partition(":")[2]))
                self.cluster.tag_image(f"docker.io/library/{reference}", f"docker.io/library/{image.name}:dev")
        return references

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Forward a port of this machine to a Service."""
        return self.cluster.expose(service, namespace, port, host_port)

    def enforce_network_policies(self) -> None:
        """Act on NetworkPolicies until `down`; the program for it is built first, once per machine."""
        self.cluster.enforce_network_policies(build(KUBE_ROUTER, self._paths.cache))

    def down(self) -> None:
        """Stop and remove the cluster."""
        self.cluster.down()


@contextmanager
def _images_beside(paths: Paths) -> Iterator[None]:
    """Build the images while the programs are built, on a new machine: both mostly wait for downloads."""
    if place_of(KUBE, paths.cache).exists():
        yield
        return

    def build_them() -> None:
        with suppress(ClusterError):  # `load` builds them again and says what is wrong
            build_images(paths, Buildah(paths))

    with ThreadPoolExecutor(1) as beside:
        beside.submit(build_them)
        yield


def build_programs(paths: Paths) -> Programs:
    """Build all programs that a node needs, and `kubectl` and `helm` for a user's PATH. The first time this takes minutes."""
    kube = build(KUBE, paths.cache)
    programs = Programs(kube, build(COREDNS, paths.cache), build(NODE, paths.cache))
    link_tools(paths.tools, kube, build(HELM_PROGRAM, paths.cache))
    return programs
