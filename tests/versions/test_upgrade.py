"""Kubernetes is upgraded under a running operator: the same process reconciles on each version, and a run in progress is recorded.

`make test-versions` runs it, since it needs the programs of three versions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.embedded.binaries import build, kube_of
from cluster.embedded.control_plane import ControlPlane
from cluster.embedded.kubernetes_versions import KubernetesVersion, available, chosen
from cluster.paths import paths_of
from support.operator import operator_of
from support.operator_harness import OperatorHarness
from support.snapshots import ROOT

NAME = "upgraded"
WITHIN = 150
"""Seconds for anything after an upgrade: operator and controllers back off while the API server is away."""


def upgrade_path() -> list[KubernetesVersion]:
    """Return the chosen version, after the two that precede it among those that can be built."""
    versions = list(available().values())
    return versions[: versions.index(chosen(os.environ)) + 1][-3:]


@pytest.fixture
def programs() -> list[Path]:
    """The programs of each version of the upgrade, the oldest first."""
    path = upgrade_path()
    if len(path) == 1:
        pytest.skip("there is no older version to upgrade from")
    return [build(kube_of(version), paths_of(os.environ).cache) for version in path]


@pytest.fixture
def plane(programs: list[Path]) -> ControlPlane:
    """A control plane of the oldest version, not started."""
    return ControlPlane(paths_of(os.environ).clusters / f"upgrade-{os.getpid()}", programs[0])


@pytest.fixture
def operator(plane: ControlPlane, helm: Path, tmp_path: Path) -> Iterator[OperatorHarness]:
    """A running operator."""
    with operator_of(plane, ROOT / "crds", helm, tmp_path) as operator:
        operator.start()
        yield operator


@pytest.mark.timeout(1800)
def test_the_operator_outlives_upgrades_of_kubernetes(operator: OperatorHarness, plane: ControlPlane, programs: list[Path]) -> None:
    """After each upgrade an edit reaches the CronJob, and a run that began on the version before gets its entry in the history."""
    operator.create_refresh(NAME, token="first")
    operator.wait_until_ready(NAME)
    job, process = operator.wait_for_job(NAME), operator.pid
    ended = []
    for number, (version, program) in enumerate(zip(upgrade_path()[1:], programs[1:], strict=True)):
        operator.set_pod_status(job, "Running", {"running": {}})
        operator.wait_for(lambda: operator.status(NAME).get("active"), WITHIN, NAME)
        untouched = _as_stored(operator)

        plane.upgrade(program)

        assert json.loads(operator.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"] == f"v{version.version}"
        assert _as_stored(operator) == untouched
        operator.report_run(NAME, job)
        operator.end_pod(job)
        assert operator.wait_for_history(NAME, job, within=WITHIN)["outcome"] == "Succeeded"
        ended.append(job)
        schedule = f"{number} 3 1 1 *"
        operator.patch_spec(NAME, schedule=schedule)
        operator.wait_for(lambda schedule=schedule: (operator.cronjob(NAME) or {})["spec"]["schedule"] == schedule, WITHIN, NAME)
        operator.request_run(NAME, f"after {version.minor}")
        operator.wait_for(lambda: _new_jobs(operator, ended), WITHIN, NAME)
        (job,) = _new_jobs(operator, ended)
    assert operator.pid == process
    operator.wait_until_ready(NAME)
    assert {each["metadata"]["name"] for each in operator.jobs(NAME)} == {*ended, job}


def _as_stored(operator: OperatorHarness) -> list[Any]:
    """Return what must be the same after an upgrade, beside fields that the newer version adds as defaults."""
    refresh, cronjob = operator.get_refresh(NAME), operator.cronjob(NAME) or {}
    jobs = sorted(each["metadata"]["uid"] for each in operator.jobs(NAME))
    return [refresh["spec"], refresh["metadata"]["generation"], cronjob["metadata"]["uid"], cronjob["metadata"]["generation"], jobs]


def _new_jobs(operator: OperatorHarness, known: list[str]) -> list[str]:
    return [name for each in operator.jobs(NAME) if (name := each["metadata"]["name"]) not in known]
