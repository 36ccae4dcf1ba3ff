"""The one small seam between demo, tests and whatever Kubernetes there is: up, load, kubeconfig, expose, down."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cluster.docker import docker_answers
from cluster.embedded.kubernetes_versions import VARIABLE, cluster_name
from cluster.errors import ClusterError
from cluster.homes import kind_for
from cluster.paths import Paths, paths_of

KINDS = ("embedded", "kind", "existing")


class Cluster(Protocol):
    """A Kubernetes that demo and tests can use."""

    kind: str

    @property
    def kubeconfig(self) -> Path:
        """The way in, from any shell of this machine; there once `up` has returned."""

    def up(self) -> None:
        """Make it run; one that does already is left as it is."""

    def alive(self) -> bool:
        """Whether it answers."""

    def load(self) -> dict[str, str]:
        """Build the four images where they changed and make the cluster know them; their references by name, e.g. `refresh-runner`."""

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Lead a port on 127.0.0.1 of this machine to a Service until `down`; the port is returned."""

    def down(self) -> None:
        """End and remove all that `up` made; fine when there is nothing."""


def cluster_of(name: str, environment: Mapping[str, str] = os.environ, paths: Paths | None = None) -> Cluster:
    """The cluster of that name on this machine: REFRESH_CLUSTER says which kind, else what the machine offers decides."""
    # here, so that a machine needs only what its own kind needs
    from cluster.existing import ExistingCluster
    from cluster.kind import KindCluster
    from cluster.local import LocalCluster

    where = paths or paths_of(environment)
    if not name.replace("-", "").isalnum() or len(name) > 30:
        raise ClusterError(f"{name!r} is no good name", "letters, digits and dashes, at most 30")
    wish = environment.get("REFRESH_CLUSTER", "")
    folder = cluster_name(name, environment)
    kind = kind_for(where.clusters / folder, wish, chosen_kind(wish, docker=docker_answers()))
    if kind != "embedded" and folder != name:
        raise ClusterError(f"{VARIABLE} is the version of the embedded cluster, and this one is of kind {kind}", f"unset {VARIABLE}")
    match kind:
        case "existing":
            return ExistingCluster(where, name, environment)
        case "kind":
            return KindCluster(where, name, environment)
        case "embedded":
            return LocalCluster(where, folder)
        case other:
            raise ClusterError(f"the cluster {name} of this checkout is a {other}", "choose another name, or run `make clean`")


def chosen_kind(wish: str, *, docker: bool) -> str:
    """Which kind of cluster to use; an explicit wish is followed whatever the machine offers."""
    if wish and wish not in KINDS:
        raise ClusterError(f"REFRESH_CLUSTER={wish} is unknown", f"one of {', '.join(KINDS)}")
    return wish or ("kind" if docker else "embedded")
