"""An operator on a server that lacks the CRD of previews, as after an upgrade that forgot it; on a control plane of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.embedded.binaries import KUBE, build
from cluster.embedded.control_plane import ControlPlane
from cluster.paths import paths_of
from support.operator import operator_of
from support.operator_harness import OperatorHarness
from support.previews import create_preview, wait_for_state
from support.snapshots import ROOT

CRDS = ROOT / "crds"


@pytest.fixture
def forgotten(helm: Path, tmp_path: Path) -> Iterator[OperatorHarness]:
    """An operator on a server with the first CRD only."""
    paths = paths_of(os.environ)
    plane = ControlPlane(paths.clusters / f"crd-{os.getpid()}", build(KUBE, paths.cache))
    with operator_of(plane, CRDS / "dashboardrefreshes.yaml", helm, tmp_path, RESYNC="2s") as operator:
        yield operator


def test_refreshes_run_without_the_crd_of_previews(forgotten: OperatorHarness) -> None:
    """One line in the log says what is missing, and the operator does not restart. Once it is there, the next process watches previews."""
    forgotten.start()
    forgotten.create_refresh("usual", token="one")
    job = forgotten.wait_for_job("usual")
    forgotten.end_pod(job, 0)
    forgotten.wait_for_history("usual", job)
    says = "the CRD RefreshPreview is not installed, so there are no previews: run `kubectl apply -f crds/`"
    assert forgotten.log.read_text().count(says) == 1
    forgotten.kubectl("apply", "-f", str(CRDS))
    assert forgotten.wait(30) == 1
    assert "the CRD RefreshPreview was installed: restarting to watch previews" in forgotten.log.read_text()
    forgotten.start()
    create_preview(forgotten, "later", "usual")
    assert wait_for_state(forgotten, "later", "Failed")["conditions"][0]["reason"] == "NotEnabled"
