"""The version of this checkout, and whether it can be released."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import yaml

from release import changelog

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-rc\.[1-9]\d*)?")


def semantic(text: str) -> str:
    """Return the text if it is a version that can be released; ValueError otherwise."""
    if not _SEMVER.fullmatch(text):
        raise ValueError(f"{text!r} is not a version: write x.y.z, or x.y.z-rc.1 for a release candidate")
    return text


def version_of(root: Path) -> str:
    """Return the version of a checkout, that of its chart."""
    return str(yaml.safe_load((root / "deploy/helm/Chart.yaml").read_text())["version"])


def epoch_of(root: Path) -> int:
    """Return the time that all files of a release get: SOURCE_DATE_EPOCH, or that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _git(root, "log", "-1", "--format=%ct"))


def problems(root: Path, version: str) -> Iterator[str]:
    """Yield why a checkout cannot be released as this version."""
    chart = yaml.safe_load((root / "deploy/helm/Chart.yaml").read_text())
    found = {"deploy/helm/Chart.yaml: version": chart["version"], "deploy/helm/Chart.yaml: appVersion": chart["appVersion"]}
    expected = dict.fromkeys(found, version)
    for file in _projects(root):
        name = str(file.relative_to(root))
        found[name], expected[name] = tomllib.loads(file.read_text())["project"]["version"], _of_python(version)
    for name, value in found.items():
        if value != expected[name]:
            yield f"{name} is {value}, not {expected[name]}: run `make release-version VERSION={version}`"
    notes = (root / "CHANGELOG.md").read_text()
    if changelog.unreleased(notes):
        yield f"CHANGELOG.md has changes below '## {changelog.UNRELEASED}': they belong to the next version"
    try:
        changelog.section(notes, version)
    except ValueError as error:
        yield str(error)
    if _git(root, "status", "--porcelain"):
        yield "the checkout has changes that are not committed"


def prepare(root: Path, version: str) -> None:
    """Write the version into the chart and the distributions, and give it its section in the changelog."""
    notes = root / "CHANGELOG.md"
    notes.write_text(changelog.promoted(notes.read_text(), version, datetime.now(UTC).date().isoformat()))
    chart = root / "deploy/helm/Chart.yaml"
    text = re.sub(r"^version: .*$", f"version: {version}", chart.read_text(), flags=re.MULTILINE)
    chart.write_text(re.sub(r"^appVersion: .*$", f'appVersion: "{version}"', text, flags=re.MULTILINE))
    for file in _projects(root):
        file.write_text(re.sub(r'^version = ".*"$', f'version = "{_of_python(version)}"', file.read_text(), flags=re.MULTILINE))


def _of_python(version: str) -> str:
    """Return a version as Python's packages write it."""
    return version.replace("-rc.", "rc")


def _projects(root: Path) -> list[Path]:
    return sorted(root.glob("*/pyproject.toml"))


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True, timeout=60).stdout.strip()
