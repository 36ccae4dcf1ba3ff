"""Which kind of cluster a folder has, and what a kind cluster is called in Docker."""

import re
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.homes import kind_for, name_in_docker, prefix_in_docker, record_kind, recorded_kind
from cluster.kind import KindCluster
from cluster.paths import paths_of
from cluster.seam import cluster_of


def test_a_cluster_keeps_its_kind_whatever_the_machine_offers_later(tmp_path: Path) -> None:
    """Otherwise, after Docker is stopped, an embedded cluster would replace it, and the kind cluster would be orphaned."""
    assert (recorded_kind(tmp_path / "demo"), kind_for(tmp_path / "demo", "", "embedded")) == ("", "embedded")
    record_kind(tmp_path / "demo", "kind")
    assert kind_for(tmp_path / "demo", "", "embedded") == "kind"
    assert kind_for(tmp_path / "demo", "kind", "embedded") == "kind"
    assert kind_for(tmp_path / "test", "", "embedded") == "embedded"


def test_another_kind_is_refused_until_the_cluster_is_removed(tmp_path: Path) -> None:
    """The embedded cluster would delete the folder, without which the kind cluster is not found."""
    record_kind(tmp_path / "demo", "kind")
    with pytest.raises(ClusterError, match="the cluster demo of this checkout is of kind kind, not embedded") as refused:
        kind_for(tmp_path / "demo", "embedded", "embedded")
    assert "make clean" in str(refused.value)


def test_the_seam_follows_the_record(tmp_path: Path) -> None:
    """REFRESH_CLUSTER of another shell does not change the kind of an existing cluster; `control-plane` is not one of the three kinds."""
    paths = paths_of({"XDG_CACHE_HOME": str(tmp_path / "cache")}, tmp_path)
    record_kind(paths.clusters / "demo", "kind")
    assert isinstance(cluster_of("demo", {}, paths), KindCluster)
    with pytest.raises(ClusterError, match="not existing"):
        cluster_of("demo", {"REFRESH_CLUSTER": "existing"}, paths)
    record_kind(paths.clusters / "plane", "control-plane")
    with pytest.raises(ClusterError, match="is a control-plane"):
        cluster_of("plane", {}, paths)


def test_kind_clusters_of_a_checkout_are_told_from_those_of_another() -> None:
    """`make clean` deletes by this name if the folder was lost, and must not delete clusters of another checkout."""
    names = [name_in_docker(Path(checkout) / ".state", name) for checkout in ("/a", "/b") for name in ("demo", "Test")]
    assert len(set(names)) == 4
    assert [name.startswith(prefix_in_docker(Path("/a/.state"))) for name in names] == [True, True, False, False]
    longest = f"{name_in_docker(Path('/a/.state'), 'x' * 30)}-control-plane"
    assert re.fullmatch(r"[a-z0-9.-]{1,63}", longest)  # it is the node's host name
