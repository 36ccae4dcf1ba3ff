"""The embedded control plane on real processes: it starts, survives crashes, ends without a trace and tolerates neighbours."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.embedded.binaries import KUBE, build
from cluster.embedded.control_plane import COMPONENTS, ControlPlane, answers, remove_orphans
from cluster.paths import paths_of


@pytest.fixture(scope="module")
def kube() -> Path:
    """The compiled program."""
    return build(KUBE, paths_of(os.environ).cache)


@pytest.fixture
def plane(tmp_path: Path, kube: Path) -> Iterator[ControlPlane]:
    """A control plane that has not been started."""
    plane = ControlPlane(tmp_path / "clusters" / "one", kube)
    yield plane
    plane.down()


def processes_below(folder: Path) -> list[int]:
    """Return the ids of all processes whose command line contains the folder."""
    return [process.pid for process in psutil.process_iter() if any(str(folder) in word for word in _command_line(process))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    """Return what kubectl prints."""
    command = [str(plane.kube), "kubectl", f"--kubeconfig={plane.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_second_up_leaves_the_running_one_alone_and_down_leaves_nothing(plane: ControlPlane) -> None:
    """Starting twice must not lose the objects of the first start; stopping twice must leave no process and no file."""
    plane.up()
    before = processes_below(plane.home)
    kubectl(plane, "create", "namespace", "kept")
    plane.up()
    assert processes_below(plane.home) == before
    assert "kept" in kubectl(plane, "get", "namespaces")
    assert len(before) == 3
    plane.down()
    plane.down()
    assert processes_below(plane.home) == []
    assert list(plane.home.parent.iterdir()) == []


def test_a_component_stops_and_comes_back_with_its_data(plane: ControlPlane) -> None:
    """A stopped API server refuses connections. Once restarted, it has its data."""
    plane.up()
    kubectl(plane, "create", "namespace", "kept")
    for name in COMPONENTS:
        plane.stop_component(name)
    assert not answers(plane.kubeconfig, "/readyz")
    for name in COMPONENTS:
        plane.start_component(name)
    assert plane.alive()
    assert "kept" in kubectl(plane, "get", "namespaces")


def test_a_frozen_api_server_does_not_answer_until_it_thaws(plane: ControlPlane) -> None:
    """Tests of a frozen API server rely on this: it responds only once it continues."""
    plane.up()
    plane.pause_component("kube-apiserver")
    assert not answers(plane.kubeconfig, "/readyz")
    plane.start_component("kube-apiserver")
    assert answers(plane.kubeconfig, "/readyz")


def test_up_on_the_remains_of_a_crash_starts_cleanly(plane: ControlPlane) -> None:
    """After kill -9 of one part and a half-written record of another, the next start gives a working, empty cluster."""
    plane.up()
    kubectl(plane, "create", "namespace", "lost")
    recorded = plane.processes.find("kube-apiserver")
    assert recorded
    psutil.Process(recorded.pid).kill()
    plane.up()
    assert "lost" not in kubectl(plane, "get", "namespaces")
    assert len(processes_below(plane.home)) == 3


def test_down_after_a_crash_leaves_nothing(plane: ControlPlane) -> None:
    """etcd was killed and the state is incomplete. All remaining processes must still end."""
    plane.up()
    recorded = plane.processes.find("etcd")
    assert recorded
    psutil.Process(recorded.pid).kill()
    (plane.home / "ports.json").unlink()
    plane.down()
    assert processes_below(plane.home) == []
    assert not plane.home.exists()


def test_two_live_side_by_side(plane: ControlPlane, tmp_path: Path, kube: Path) -> None:
    """Several sessions share a machine: objects of one are not in the other, and stopping one leaves the other running."""
    other = ControlPlane(tmp_path / "clusters" / "other", kube)
    try:
        plane.up()
        other.up()
        kubectl(plane, "create", "namespace", "here")
        assert "here" not in kubectl(other, "get", "namespaces")
    finally:
        other.down()
    assert plane.alive()


def test_a_control_plane_whose_owner_died_is_taken_down(plane: ControlPlane, kube: Path) -> None:
    """Orphans would keep memory and ports; those whose owner lives must stay."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    plane.up(owner=ended.pid)
    assert len(processes_below(plane.home)) == 3
    remove_orphans(plane.home.parent, kube)
    assert processes_below(plane.home) == []
