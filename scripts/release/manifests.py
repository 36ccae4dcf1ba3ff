"""What is applied to a cluster: the chart as a package, the CRDs in one file, and what the demo needs."""

from __future__ import annotations

import re
from pathlib import Path

from release.archives import files_below, write_tgz

CHART = "dashboard-refresh"
_STAND_INS = ("warehouse", "inbox", "dashboard-api")
_SAMPLES = ("main", "phase2")


def put_manifests(root: Path, folder: Path, version: str, epoch: int) -> None:
    """Write the chart, the CRDs and the demo."""
    write_tgz(
        folder / f"{CHART}-{version}.tgz", {f"{CHART}/{name}": text for name, text in files_below(root / "deploy/helm").items()}, epoch
    )
    (folder / "crds.yaml").write_text(_joined(sorted((root / "crds").glob("*.yaml"))))
    demo = _joined([root / f"examples/deploy/{name}.yaml" for name in _STAND_INS])
    (folder / "demo.yaml").write_text(re.sub(r"\brefresh-examples:dev\b", f"refresh-examples:{version}", demo))
    (folder / "refreshes.yaml").write_text(_joined([root / f"deploy/samples/{name}.yaml" for name in _SAMPLES]))


def _joined(files: list[Path]) -> str:
    return "---\n".join(each.read_text() for each in files)
