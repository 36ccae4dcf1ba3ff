"""Fixtures with a real cluster, the images built from the Dockerfile, and the operator from its chart; one of each a session."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
import yaml

from cluster.seam import Cluster, cluster_of
from support.stage import SAMPLES, Stage

AS_OF = "2026-06-30"
ROWS = 2000
SEED = 11


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster; it goes down with the session unless KEEP_CLUSTER is set (then the next session finds it warm)."""
    chosen = cluster_of("test")
    chosen.up()
    yield chosen
    if not os.environ.get("KEEP_CLUSTER"):
        chosen.down()


@pytest.fixture(scope="session")
def stage(cluster: Cluster) -> Iterator[Stage]:
    """Warehouse with source data, API, inbox and operator, in a namespace of their own at the `restricted` level."""
    namespace = "refresh-e2e"
    stage = Stage.of(cluster, namespace)
    kubectl = stage.kubectl.within("default")
    kubectl.attempt("delete", "namespace", namespace, "--wait=true", timeout=120)
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    stage.bring_warehouse_and_api()
    stage.load(ROWS, SEED, AS_OF)
    stage.install_operator()
    stage.kubectl.apply(sample("main", name="main"))
    stage.request_run("main", "first")
    assert stage.finished("main", "first")["outcome"] == "Succeeded", stage.story("main")
    yield stage
    if cluster.kind == "existing":  # the others go down as a whole
        stage.uninstall_operator()
        kubectl("delete", "namespace", namespace, "--wait=true", timeout=120)


def sample(which: str, name: str, **spec: object) -> str:
    """A sample refresh under another name, never due by itself, with the generator's date and changes to its spec.

    A part that is None is taken away.
    """
    manifest = yaml.safe_load((SAMPLES / f"{which}.yaml").read_text())
    manifest["metadata"]["name"] = name
    changed = manifest["spec"] | {"schedule": "0 0 1 1 *", "dbt": {"threads": 2, "vars": {"as_of": AS_OF}}, **spec}
    manifest["spec"] = {name: part for name, part in changed.items() if part is not None}
    return yaml.safe_dump(manifest)


_numbers = itertools.count(1)


@pytest.fixture
def phase2(stage: Stage) -> Iterator[Callable[..., str]]:
    """Applies a phase 2 refresh with changes to its spec and returns its name; deleted when the test ends."""
    applied: list[str] = []

    def apply(**spec: object) -> str:
        name = f"phase2-{next(_numbers)}"
        stage.kubectl.apply(sample("phase2", name, **spec))
        applied.append(name)
        return name

    yield apply
    for name in applied:
        stage.kubectl.attempt("delete", "dashboardrefresh", name, "--cascade=foreground", "--wait=true")


SHORT = {"layers": [{"name": "staging", "select": ["stg_implantations"]}], "tests": None, "validation": None, "cache": None}
"""One view: for faults that have nothing to do with what a run builds."""


def recovers(stage: Stage, name: str) -> None:
    """The next run of the refresh succeeds."""
    stage.request_run(name, "again")
    assert stage.finished(name, "again")["outcome"] == "Succeeded", stage.story(name)
