"""A cluster without any registry, and a user without a checkout, install from the folder of a release alone, and upgrade to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.images import IMAGES
from cluster.local import LocalCluster
from cluster.paths import paths_of
from cluster.seam import cluster_of
from release.plugin import NAME, machine

ROOT = Path(__file__).parents[3]
BEFORE = ROOT / "tests/releases/dashboard-refresh-0.1.0.tgz"
"""The chart of the first release, with its CRDs."""
pytestmark = pytest.mark.timeout(2400)  # building all images on a busy machine


@dataclass(frozen=True)
class User:
    """A user whose folder has the files of the release and nothing else, with kubectl, helm and its plugin in PATH."""

    home: Path
    version: str
    kubeconfig: Path
    namespace: str

    def __call__(self, *command: str, limit: float = 300) -> str:
        """Run a command in the folder; return what it prints."""
        path = f"{self.home.parent / 'bin'}:{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": str(self.home.parent), "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=limit, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the namespace."""
        return self("kubectl", f"--namespace={self.namespace}", *words)

    def helm(self, *words: str) -> str:
        """Run helm in the namespace."""
        return self("helm", f"--namespace={self.namespace}", *words)

    def try_it(self) -> None:
        """Deploy the demo's warehouse with data, and apply the refreshes."""
        self.kubectl("apply", "-f", "demo.yaml")
        for each in ("warehouse", "dashboard-api", "inbox"):
            self.kubectl("rollout", "status", f"deployment/{each}", "--timeout=120s")
        self.kubectl("exec", "deployment/warehouse", "--", "env", "PGHOST=127.0.0.1", "refresh-examples", "load", "--rows=2000")
        self.kubectl("apply", "-f", "refreshes.yaml")
        # so that no scheduled run holds the warehouse
        for name in ("main-pipeline", "phase2-dashboards-refresh"):
            self.kubectl("patch", "dashboardrefresh", name, "--type=merge", '--patch={"spec":{"schedule":"0 0 1 1 *"}}')

    def run(self, name: str) -> str:
        """Run a refresh to its end by the plugin; return its outcome."""
        done = self("kubectl", "dashboardrefresh", "run", name, "--wait", "-o", "json", f"--namespace={self.namespace}")
        return str(json.loads(done)["outcome"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release of this checkout as it is, written apart from it, and the programs of a user beside it."""
    place = tmp_path_factory.mktemp("user")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'scripts'}"}
    command = [sys.executable, "-m", "release", "bundle", "--into", str(place)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    (written,) = place.iterdir()
    return written


@pytest.fixture(scope="module")
def version(folder: Path) -> str:
    """The version of the release."""
    (chart,) = folder.glob("dashboard-refresh-*.tgz")
    return chart.stem.removeprefix("dashboard-refresh-")


@pytest.fixture(scope="module")
def node(folder: Path, version: str) -> Iterator[LocalCluster]:
    """A cluster whose node has the images of the release and no others of ours."""
    cluster = cluster_of("release")
    if not isinstance(cluster, LocalCluster):
        pytest.skip("imports images into the node of the embedded cluster")
    cluster.down()
    cluster.up()
    for image in IMAGES:
        cluster.cluster.load_image(folder / "images" / f"{image.name}-{version}-linux-{machine()}.tar")
    programs = folder.parent / "bin"
    programs.mkdir()
    (programs / NAME).symlink_to(folder / f"{NAME}-{version}-linux-{machine()}")
    for each in ("kubectl", "helm"):
        (programs / each).symlink_to(paths_of(os.environ).tools / each)
    yield cluster
    cluster.down()


@pytest.fixture
def user(folder: Path, version: str, node: LocalCluster, request: pytest.FixtureRequest) -> Iterator[User]:
    """A user with a namespace; nothing of the product is left in the cluster afterwards."""
    user = User(folder, version, node.kubeconfig, f"of-{request.node.name.rpartition('_')[2]}")
    user("kubectl", "create", "namespace", user.namespace)
    yield user
    user("kubectl", "delete", "crds", "dashboardrefreshes.dashboards.sigeti.io", "refreshpreviews.dashboards.sigeti.io")
    user("kubectl", "delete", "namespace", user.namespace)


def test_checksums_hold(folder: Path):
    """A file that was changed in transit is detected."""
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=False, timeout=120).returncode == 0
    (folder / "LICENSE").write_text((folder / "LICENSE").read_text() + " ")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True, timeout=120).returncode == 1
    (folder / "LICENSE").write_text((folder / "LICENSE").read_text()[:-1])


def test_a_clean_cluster_gets_fresh_dashboards_by_an_install(user: User):
    """The chart's defaults name the images of the release; the plugin runs both refreshes, and the API has the data."""
    chart = f"dashboard-refresh-{user.version}.tgz"
    user.helm("install", "dashboard-refresh", chart, "--set", "webhooks.allowHttp=true", "--wait", "--timeout=120s")
    deployed = user.kubectl("get", "deployment", "dashboard-refresh", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert deployed == f"refresh-operator:{user.version}"
    user.try_it()
    assert [user.run(name) for name in ("main-pipeline", "phase2-dashboards-refresh")] == ["Succeeded", "Succeeded"]
    images = user.kubectl("get", "pods", "-l", "dashboards.sigeti.io/refresh", "-o", "jsonpath={.items[*].spec.containers[*].image}")
    assert set(images.split()) == {f"refresh-runner:{user.version}"}


def test_the_first_release_is_replaced_by_an_upgrade(user: User, node: LocalCluster):
    """With the chart and the CRDs of 0.1.0, as released, and images of today: history and settings stay, and refreshes go on."""
    if user.version != "0.1.0":
        for image in IMAGES:
            start = f"docker.io/library/{image.name}"
            node.cluster.tag_image(f"{start}:{user.version}", f"{start}:0.1.0")
    user.helm(
        "install", "dashboard-refresh", str(BEFORE), "--set", "webhooks.allowHttp=true,operator.replicas=2", "--wait", "--timeout=120s"
    )
    user.try_it()
    assert user.run("main-pipeline") == "Succeeded"
    before = json.loads(user.kubectl("get", "dashboardrefresh", "main-pipeline", "-o", "json"))

    user.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds.yaml")
    chart = f"dashboard-refresh-{user.version}.tgz"
    user.helm("upgrade", "dashboard-refresh", chart, "--reset-then-reuse-values", "--force-conflicts", "--wait", "--timeout=120s")

    after = json.loads(user.kubectl("get", "dashboardrefresh", "main-pipeline", "-o", "json"))
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    deployment = json.loads(user.kubectl("get", "deployment", "dashboard-refresh", "-o", "json"))
    assert deployment["spec"]["replicas"] == 2
    assert [user.run(name) for name in ("main-pipeline", "phase2-dashboards-refresh")] == ["Succeeded", "Succeeded"]
    history = json.loads(user.kubectl("get", "dashboardrefresh", "main-pipeline", "-o", "json"))["status"]["history"]
    assert [each["id"] for each in history[1:]] == [each["id"] for each in before["status"]["history"]]
