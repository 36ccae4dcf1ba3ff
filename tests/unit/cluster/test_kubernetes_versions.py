"""The cluster's version is the one that REFRESH_KUBERNETES names, and the table of versions has no others."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cluster.embedded.binaries import COREDNS, HELM_PROGRAM, KIND, KUBE, KUBEADM, NODE
from cluster.embedded.kubernetes_versions import VARIABLE, available, chosen, cluster_name, default
from cluster.errors import ClusterError
from cluster.paths import paths_of
from cluster.seam import cluster_of
from kubernetes_versions import SUITES
from suite_results import KUBERNETES, ON_KIND


def test_the_default_is_one_of_several() -> None:
    """Versions are keyed by their minor version, oldest first."""
    found = available()
    assert chosen({}) == default() == found[default().minor]
    assert list(found) == sorted(found, key=lambda minor: int(minor.split(".")[1]))
    assert {version.version.rpartition(".")[0] for version in found.values()} == set(found)
    assert len(found) > 1


def test_versions_are_compared_as_numbers() -> None:
    """1.100 is newer than 1.30."""
    version = replace(default(), version="1.100.2")
    assert version.is_at_least(1, 30)
    assert version.is_at_least(1, 100)
    assert not version.is_at_least(1, 101)
    assert not version.is_at_least(2, 0)


def test_clusters_of_several_versions_are_side_by_side() -> None:
    """Clusters of the default version keep their names."""
    other = next(minor for minor in available() if minor != default().minor)
    assert (cluster_name("test", {}), cluster_name("test", {VARIABLE: default().minor})) == ("test", "test")
    assert cluster_name("test", {VARIABLE: other}) == f"test-{other.replace('.', '-')}"


def test_a_program_of_another_version_is_another_program() -> None:
    """The cache key is a hash of the sources, also for a module without dependencies, which has no checksums."""
    others = [replace(KUBE, modfile=version.modfile).key() for version in available().values() if version != default()]
    keys = [program.key() for program in (KUBE, COREDNS, KUBEADM, NODE, KIND, HELM_PROGRAM)]
    assert len({*keys, *others}) == len(keys) + len(others)


def test_an_unknown_version_is_refused() -> None:
    """The message lists the available versions."""
    with pytest.raises(ClusterError, match=r"REFRESH_KUBERNETES=1\.2 is not available") as refused:
        chosen({VARIABLE: "1.2"})
    assert default().minor in str(refused.value)


def test_only_the_embedded_cluster_has_versions(tmp_path) -> None:
    """A kind cluster's version is that of its image."""
    other = next(minor for minor in available() if minor != default().minor)
    with pytest.raises(ClusterError, match="this one is of kind kind"):
        cluster_of("test", {VARIABLE: other, "REFRESH_CLUSTER": "kind"}, paths_of({}, tmp_path))
    assert cluster_of("test", {VARIABLE: other, "REFRESH_CLUSTER": "embedded"}, paths_of({}, tmp_path)).kubeconfig.parent.name != "test"


def test_the_table_has_rows_of_known_versions_alone() -> None:
    """The page must not claim more than what was tested."""
    text = KUBERNETES.page.read_text()
    assert "| " + " | ".join(KUBERNETES.head) + " |" in text
    assert set(re.findall(r"^\| (\d+\.\d+)\.", text, re.MULTILINE)) <= set(available())
    assert (*(suite.label for suite in SUITES), ON_KIND) == KUBERNETES.suites
