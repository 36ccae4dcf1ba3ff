"""The interface of all kinds of clusters for demo and tests: up, load, kubeconfig, expose, down."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cluster.builders import Buildah, Docker
from cluster.docker import docker_answers
from cluster.embedded.kubernetes_versions import VARIABLE, cluster_name
from cluster.errors import ClusterError
from cluster.homes import kind_for
from cluster.paths import Paths, paths_of
from cluster.preflight import ensure

KINDS = ("embedded", "kind", "existing")


class Cluster(Protocol):
    """A Kubernetes cluster that demo and tests can use."""

    kind: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, which works from any shell of this machine; it exists after `up`."""

    def up(self) -> None:
        """Start the cluster; a running one is left unchanged."""

    def alive(self) -> bool:
        """Return whether the API server answers."""

    def load(self) -> dict[str, str]:
        """Build the changed images and load them into the cluster; return all references by name, such as `refresh-runner`."""

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Forward a port on 127.0.0.1 of this machine to a Service until `down`; return the port."""

    def down(self) -> None:
        """Stop and remove everything that `up` created; a missing cluster is not an error."""


def cluster_of(name: str, environment: Mapping[str, str] = os.environ, paths: Paths | None = None) -> Cluster:
    """Return the cluster of that name. REFRESH_CLUSTER names its kind; the default depends on what the machine supports."""
    # here, so that a machine needs only what its own kind needs
    from cluster.existing import ExistingCluster
    from cluster.kind import KindCluster
    from cluster.local import LocalCluster

    where = paths or paths_of(environment)
    if not name.replace("-", "").isalnum() or len(name) > 30:
        raise ClusterError(f"{name!r} is not a valid name", "use at most 30 letters, digits and dashes")
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


def builder_of(paths: Paths, environment: Mapping[str, str] = os.environ) -> Buildah | Docker:
    """Return what builds the images for the kind of cluster that is used here."""
    if chosen_kind(environment.get("REFRESH_CLUSTER", ""), docker=docker_answers()) == "embedded":
        ensure(paths, "embedded")
        return Buildah(paths)
    return Docker(paths)


def chosen_kind(wish: str, *, docker: bool) -> str:
    """Return the kind of cluster to use; an explicit choice is not overridden."""
    if wish and wish not in KINDS:
        raise ClusterError(f"REFRESH_CLUSTER={wish} is unknown", f"set it to one of {', '.join(KINDS)}")
    return wish or ("kind" if docker else "embedded")
