"""Fixture with a real API server and its controllers, one per session and pytest-xdist worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cluster.embedded.binaries import KUBE, build
from cluster.embedded.control_plane import ControlPlane, remove_orphans
from cluster.embedded.kubernetes_versions import chosen
from cluster.paths import paths_of

HAS_ADMISSION_POLICY = chosen(os.environ).is_at_least(1, 30)
"""Whether the API server knows ValidatingAdmissionPolicy as a stable API."""
needs_admission_policy = pytest.mark.skipif(not HAS_ADMISSION_POLICY, reason="ValidatingAdmissionPolicy is stable since Kubernetes 1.30")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A running control plane without nodes; `control_plane.kubeconfig` has the administrator's credentials."""
    paths = paths_of(os.environ)
    kube = build(KUBE, paths.cache)
    remove_orphans(paths.clusters, kube)
    plane = ControlPlane(paths.clusters / f"tests-{os.getpid()}", kube)
    plane.up(owner=os.getpid())
    yield plane
    plane.down()
