"""Fixtures with a real cluster, images built from the Dockerfile and the operator's chart, once per session."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator

import pytest
import yaml

from cluster.seam import Cluster, cluster_of
from support.git_in_cluster import ALLOWED, deploy_git_server
from support.installation import SAMPLES, Installation
from support.velos_in_cluster import NAME as VELOS
from support.velos_in_cluster import SECRET as VELOS_SECRET
from support.velos_in_cluster import deploy_velos
from support.velos_in_cluster import refresh as velos_refresh

AS_OF = "2026-06-30"
ROWS = 2000
SEED = 11


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster; it is removed with the session unless KEEP_CLUSTER is set, for quicker repetition."""
    chosen = cluster_of("test")
    chosen.up()
    yield chosen
    if not os.environ.get("KEEP_CLUSTER"):
        chosen.down()


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Iterator[Installation]:
    """Warehouse with source data, API, inbox and operator in a namespace with Pod Security level `restricted`.

    The operator allows projects of the demo's Git server, which a test that needs it deploys.
    """
    namespace = "refresh-e2e"
    installation = Installation.in_cluster(cluster, namespace)
    kubectl = installation.kubectl.within("default")
    kubectl.attempt("delete", "namespace", namespace, "--wait=true", timeout=120)
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    installation.deploy_warehouse_and_api()
    installation.load_sources(ROWS, SEED, AS_OF)
    installation.install_operator(ALLOWED)
    installation.kubectl.apply(sample_manifest("main", name="main"))
    installation.request_run("main", "first")
    assert installation.wait_for_run("main", "first")["outcome"] == "Succeeded", installation.describe("main")
    yield installation
    if cluster.kind == "existing":  # other clusters are removed as a whole
        installation.uninstall_operator()
        kubectl("delete", "namespace", namespace, "--wait=true", timeout=120)


@pytest.fixture(scope="module")
def velos(installation: Installation, cluster: Cluster) -> Iterator[str]:
    """The second project's refresh, beside `main` of the first one. It has not run."""
    deploy_git_server(installation)
    deploy_velos(installation, cluster)
    manifest = velos_refresh()
    manifest["spec"]["schedule"] = "0 0 1 1 *"
    installation.kubectl.apply(json.dumps(manifest))
    yield VELOS
    installation.kubectl.attempt("delete", "dashboardrefresh", VELOS, "--cascade=foreground", "--wait=true")
    installation.kubectl("delete", "secret", VELOS_SECRET)
    installation.psql(f"drop database {VELOS} with (force)")
    installation.psql(f"drop role {VELOS}")


def sample_manifest(which: str, name: str, **spec: object) -> str:
    """Return a sample refresh under another name with changes to its spec; None removes a field.

    Its schedule is due once a year, and `as_of` is the generator's date.
    """
    manifest = yaml.safe_load((SAMPLES / f"{which}.yaml").read_text())
    manifest["metadata"]["name"] = name
    changed = manifest["spec"] | {"schedule": "0 0 1 1 *", "dbt": {"threads": 2, "vars": {"as_of": AS_OF}}, **spec}
    manifest["spec"] = {name: part for name, part in changed.items() if part is not None}
    return yaml.safe_dump(manifest)


_numbers = itertools.count(1)


@pytest.fixture
def apply_phase2(installation: Installation) -> Iterator[Callable[..., str]]:
    """Return a function that applies a phase 2 refresh with changes to its spec and returns its name; deleted after the test."""
    applied: list[str] = []

    def apply(**spec: object) -> str:
        name = f"phase2-{next(_numbers)}"
        installation.kubectl.apply(sample_manifest("phase2", name, **spec))
        applied.append(name)
        return name

    yield apply
    for name in applied:
        installation.kubectl.attempt("delete", "dashboardrefresh", name, "--cascade=foreground", "--wait=true")


ONE_VIEW = {"layers": [{"name": "staging", "select": ["stg_implantations"]}], "tests": None, "validation": None, "cache": None}
"""A run that builds one view, for faults that are independent of what a run builds."""


def assert_recovers(installation: Installation, name: str) -> None:
    """Assert that the next run of the refresh succeeds."""
    installation.request_run(name, "again")
    assert installation.wait_for_run(name, "again")["outcome"] == "Succeeded", installation.describe(name)
