"""Run the end-to-end tests on a kind cluster, and write their result into docs/kubernetes.md."""

from __future__ import annotations

import sys

from kubernetes import client, config

import generate
from cluster.seam import cluster_of
from suite_results import KUBERNETES, ON_KIND, run_whole


def main() -> int:
    """Run the tests on a new cluster; arguments are passed to pytest, and then nothing is written. Return 1 if a test failed."""
    cluster = cluster_of("test")
    cluster.up()
    config.load_kube_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]
    version = client.VersionApi().get_code().git_version.lstrip("v")
    return run_whole("test-kind", KUBERNETES, (version, ON_KIND), ["tests/e2e"], sys.argv[1:], generate.write)


if __name__ == "__main__":
    sys.exit(main())
