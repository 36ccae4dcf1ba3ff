"""An existing cluster: the user's kubeconfig is used, even if KUBECONFIG names several files."""

import json
import os
from pathlib import Path

import pytest

from cluster.embedded.binaries import link_tools
from cluster.embedded.control_plane import ControlPlane
from cluster.errors import ClusterError
from cluster.existing import ExistingCluster
from cluster.paths import Paths, paths_of


@pytest.fixture
def paths(tmp_path: Path, control_plane: ControlPlane, helm: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A separate checkout, on a machine with kubectl and helm."""
    link_tools(tmp_path / "machine", control_plane.kube, helm)
    monkeypatch.setenv("PATH", f"{tmp_path / 'machine'}:{os.environ['PATH']}")
    return Paths(tmp_path, tmp_path / ".state", paths_of(os.environ).cache)


def test_a_list_of_two_files_is_one_way_in(paths: Paths, control_plane: ControlPlane, tmp_path: Path) -> None:
    """One file has the cluster and the other the user, as `KUBECONFIG=a:b` allows; other contexts' credentials are not copied."""
    whole = json.loads(control_plane.kubeconfig.read_text())
    secret = {"name": "other", "user": {"token": "another-cluster-s"}}
    halves = {
        "clusters": {**whole, "users": [], "contexts": [], "current-context": ""},
        "users": {**whole, "clusters": [], "users": [*whole["users"], secret]},
    }
    for name, content in halves.items():
        (tmp_path / name).write_text(json.dumps(content))
    cluster = ExistingCluster(paths, "demo", {"KUBECONFIG": f"{tmp_path}/clusters:{tmp_path}/users"})
    assert not cluster.alive()
    cluster.up()
    assert cluster.alive()
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    assert "another-cluster-s" not in cluster.kubeconfig.read_text()
    cluster.down()
    assert (tmp_path / "clusters").exists()
    assert not cluster.kubeconfig.exists()


def test_one_file_is_used_as_it_is(paths: Paths, control_plane: ControlPlane) -> None:
    """Nothing is copied. Control: a file whose API server does not answer."""
    cluster = ExistingCluster(paths, "demo", {"KUBECONFIG": str(control_plane.kubeconfig)})
    cluster.up()
    assert cluster.kubeconfig == control_plane.kubeconfig
    cluster.down()
    assert control_plane.kubeconfig.exists()
    nowhere = ExistingCluster(paths, "demo", {"KUBECONFIG": str(paths.state / "no-file")})
    with pytest.raises(ClusterError, match="does not answer"):
        nowhere.up()
