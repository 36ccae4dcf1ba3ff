"""Run the tests that depend on Kubernetes' version on each version, and write their results into docs/kubernetes.md."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import Final

import generate
from cluster.embedded.kubernetes_versions import VARIABLE, KubernetesVersion, available
from suite_results import KUBERNETES, ROOT, Result, run_all, run_suite

_INTEGRATION: Final = "tests/integration"


@dataclass(frozen=True)
class Suite:
    """Tests, and what the table calls them."""

    label: str
    options: tuple[str, ...]
    cluster: str = ""
    """Name of the cluster that they need; empty for control planes of their own."""
    upgrades: bool = False
    """Whether they upgrade a cluster to the version, so that there must be an older one."""


SUITES: Final = (
    Suite(
        "API server",
        (
            "-n",
            "3",
            "-m",
            "not slow",
            *(f"{_INTEGRATION}/{part}" for part in ("operator", "contract", "chart", "page", "runner/test_status.py")),
        ),
    ),
    Suite("end to end", ("tests/e2e",), "test"),
    Suite("upgrade", ("tests/versions",), upgrades=True),
)


def run(version: KubernetesVersion, suite: Suite) -> Result:
    """Run a suite on a version, whose cluster is removed afterwards, and return its counts."""
    environment = {**os.environ, VARIABLE: version.minor, "REFRESH_CLUSTER": "embedded"}
    report = ROOT / f".state/kubernetes/{version.minor}-{suite.label.replace(' ', '-')}.xml"
    if not suite.cluster:
        _cluster(environment, "build", "--control-plane")
        return run_suite(report, suite.options, environment)
    try:
        _cluster(environment, "up", "--name", suite.cluster)
        _cluster(environment, "load", "--name", suite.cluster)
        return run_suite(report, suite.options, environment)
    finally:
        _cluster(environment, "down", "--name", suite.cluster)


def _cluster(environment: dict[str, str], *command: str) -> None:
    subprocess.run([sys.executable, "-m", "cluster", *command], cwd=ROOT, env=environment, check=True, stdout=sys.stderr)


def main() -> int:
    """Run the versions that VERSIONS names. Defaults to all. Return 1 if a test failed."""
    known = available()
    wanted = os.environ.get("VERSIONS", "").split() or list(known)
    if unknown := [each for each in wanted if each not in known]:
        print(f"VERSIONS: {', '.join(unknown)} is not available; choose from {', '.join(known)}", file=sys.stderr)
        return 2
    oldest = next(iter(known))
    suites = ((known[each], suite) for each in wanted for suite in SUITES if each != oldest or not suite.upgrades)
    runs = (((version.version, suite.label), partial(run, version, suite)) for version, suite in suites)
    return run_all("test-versions", KUBERNETES, runs, generate.write)


if __name__ == "__main__":
    sys.exit(main())
