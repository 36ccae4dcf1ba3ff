"""`make bundle`: a cluster and a laptop without any registry install from its folder alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local import LocalCluster
from cluster.paths import paths_of
from cluster.seam import cluster_of
from support.kubectl import Kubectl

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The folder that the command has written."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, str(ROOT / "scripts" / "bundle.py")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    return ROOT / done.stdout.rsplit("bundle: ", 1)[1].partition(",")[0]


@pytest.fixture(scope="module")
def node(bundle: Path) -> Iterator[LocalCluster]:
    """A cluster whose node has the images of the bundle and no others of ours."""
    cluster = cluster_of("bundle")
    if not isinstance(cluster, LocalCluster):
        pytest.skip("imports images into the node of the embedded cluster")
    cluster.up()
    for archive in sorted((bundle / "images").iterdir()):
        cluster.cluster.load_image(archive)
    yield cluster
    cluster.down()


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command as a user does; return what it prints."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_checksums_hold(bundle: Path):
    """A file that was changed in transit is detected."""
    assert "FAILED" not in run("sha256sum", "--check", "SHA256SUMS", cwd=bundle)
    listed = {line.split("  ", 1)[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    assert listed == {str(each.relative_to(bundle)) for each in bundle.rglob("*") if each.is_file()} - {"SHA256SUMS"}


def test_the_plugin_is_installed_without_an_index(bundle: Path, tmp_path: Path):
    """From the wheels in the folder."""
    run(sys.executable, "-m", "venv", str(tmp_path / "refresh"), cwd=bundle)
    install = ("install", "--quiet", "--no-index", "--find-links", "plugin", "refresh-cli")
    run(str(tmp_path / "refresh/bin/pip"), *install, cwd=bundle, PIP_CONFIG_FILE=os.devnull)
    assert "run" in run(str(tmp_path / "refresh/bin/kubectl-dashboardrefresh"), "--help", cwd=tmp_path)


def test_the_chart_runs_with_the_images_of_the_bundle(bundle: Path, node: LocalCluster):
    """Without any values, the operator becomes ready, and a run's pod would start with the runner's image, which the node has."""
    tools = paths_of(os.environ).tools
    (chart,) = bundle.glob("dashboard-refresh-*.tgz")
    version = chart.stem.removeprefix("dashboard-refresh-")
    helm = [str(tools / "helm"), f"--kubeconfig={node.kubeconfig}", "--namespace=dashboards"]
    run(*helm, "install", "dashboard-refresh", chart.name, "--create-namespace", "--wait", "--timeout=120s", cwd=bundle)
    kubectl = Kubectl(node.kubeconfig, "dashboards", str(tools / "kubectl"))
    images = kubectl("get", "deployment", "dashboard-refresh", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert images == f"refresh-operator:{version}"
    command = [
        "run",
        "try",
        f"--image=refresh-runner:{version}",
        "--image-pull-policy=Never",
        "--restart=Never",
        "--attach",
        "--rm",
        "--quiet",
    ]
    assert "usage: refresh-runner" in kubectl(*command, "--", "--help", timeout=120)
