"""A kind cluster on a real Docker engine: what is created as the user says, what is found again, and what is said to stay."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.docker import docker_answers
from cluster.embedded.binaries import KUBERNETES
from cluster.homes import name_in_docker
from cluster.images import EXAMPLES
from cluster.kind import KindCluster, delete_kind_cluster, kind_clusters
from cluster.kubectl import versions, within_skew
from cluster.paths import paths_of
from cluster.remains import remains
from cluster.seam import chosen_kind

if chosen_kind(os.environ.get("REFRESH_CLUSTER", ""), docker=docker_answers()) != "kind":
    pytest.skip("this machine uses another kind of cluster", allow_module_level=True)

PATHS = paths_of(os.environ)


def docker(*arguments: str) -> str:
    """Return what docker prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=120).stdout.strip()


@pytest.fixture
def lost(cluster: KindCluster) -> Iterator[str]:
    """The name of a kind cluster of this checkout whose folder was lost: a container with kind's labels."""
    image = cluster.load()[EXAMPLES.name]
    name = name_in_docker(PATHS.state, "lost")
    neighbours = name_in_docker(Path("/another/checkout/.state"), "lost")
    for each in (name, neighbours):
        labels = [f"--label=io.x-k8s.kind.cluster={each}", "--label=io.x-k8s.kind.role=control-plane"]
        docker("create", *labels, f"--name={each}-control-plane", image)
    yield name
    for each in (name, neighbours):
        subprocess.run(["docker", "rm", "--force", f"{each}-control-plane"], capture_output=True, check=False, timeout=60)


def test_a_cluster_without_a_folder_is_found_and_deleted(cluster: KindCluster, lost: str) -> None:
    """`make clean` said that nothing was left of it. A neighbour's is not ours, and the running one stays."""
    assert set(kind_clusters(PATHS)) == {cluster.name, lost}
    delete_kind_cluster(PATHS, lost)
    assert kind_clusters(PATHS) == [cluster.name]
    names = docker("ps", "--all", "--format={{.Names}}").split()
    assert f"{name_in_docker(Path('/another/checkout/.state'), 'lost')}-control-plane" in names
    assert cluster.alive()


def test_what_stays_in_docker_is_named(cluster: KindCluster) -> None:
    """The images and the network exist for as long as the cluster does, and afterwards."""
    images = cluster.load()
    said = "\n".join(remains(PATHS))
    assert [reference for reference in images.values() if reference not in said] == []
    assert "docker network rm kind" in said
    assert "CLUSTER=existing" not in said


def test_the_node_is_of_the_image_that_was_chosen(cluster: KindCluster) -> None:
    """kind's own default would need a registry."""
    wanted = os.environ.get("REFRESH_KIND_IMAGE")
    if not wanted:
        pytest.skip("REFRESH_KIND_IMAGE is not set: kind's own image is used")
    assert docker("inspect", "--format={{.Config.Image}}", f"{cluster.name}-control-plane") == wanted


def test_kubectl_is_one_that_the_api_server_supports_or_the_built_one(cluster: KindCluster) -> None:
    """The machine's own may be years older; the built one is used where none is supported."""
    command = [str(PATHS.tools / "kubectl"), f"--kubeconfig={cluster.kubeconfig}", "version", "--output=json"]
    client, server = versions(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert client
    assert server
    assert within_skew(client, server) or f"{client[0]}.{client[1]}" == KUBERNETES.rpartition(".")[0]
