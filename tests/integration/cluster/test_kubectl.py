"""The kubectl that is linked for a real API server."""

import os
from pathlib import Path

import pytest

from cluster.embedded.control_plane import ControlPlane
from cluster.kubectl import link_suitable_kubectl
from cluster.paths import Paths, paths_of


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A separate checkout with the shared cache."""
    return Paths(tmp_path, tmp_path / ".state", paths_of(os.environ).cache)


def test_the_machine_s_kubectl_is_used_where_kubernetes_supports_it(
    paths: Paths, control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the machine's kubectl has the same version. If it prints no version, or is missing, the built one is linked."""
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "kubectl").symlink_to(control_plane.kube)
    monkeypatch.setenv("PATH", f"{machine}:{os.environ['PATH']}")
    link_suitable_kubectl(paths, control_plane.kubeconfig)
    assert (paths.tools / "kubectl").readlink() == machine / "kubectl"

    (machine / "kubectl").unlink()
    (machine / "kubectl").symlink_to("/bin/false")
    link_suitable_kubectl(paths, control_plane.kubeconfig)
    assert (paths.tools / "kubectl").readlink() == control_plane.kube

    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    link_suitable_kubectl(paths, control_plane.kubeconfig)
    assert (paths.tools / "kubectl").readlink() == control_plane.kube
