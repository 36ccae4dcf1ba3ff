"""Writes the folder of a release."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cyclonedx.model.component import ComponentType

from cluster.paths import Paths
from release.archives import unzipped
from release.images import Archived, put_images
from release.manifests import put_manifests
from release.plugin import NAME, PLATFORMS, put_plugin
from release.sbom import Package, document, licence_list, packages_of
from release.sums import write_checksums
from release.wheels import put_wheels

URL: Final = "https://releases.example.org/dashboard-refresh"
"""Where krew would fetch the plugin, unless told otherwise; `kubectl krew install --archive` fetches nothing."""


@dataclass(frozen=True)
class Contents:
    """What to write."""

    version: str
    epoch: int
    url: str = URL
    notes: str = ""
    """The release notes; none for a bundle."""
    images: bool = True
    others: Path | None = None
    """A folder with archives of images for other architectures."""


def write(paths: Paths, folder: Path, what: Contents) -> None:
    """Write everything but the signature."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root = paths.checkout
    images = put_images(paths, folder / "images", what.version, what.epoch) if what.images else []
    if what.others:
        put_others(what.others, folder / "images", what.version)
    put_manifests(root, folder, what.version, what.epoch)
    put_wheels(root, folder / "wheels", what.epoch)
    put_plugin(root, folder, what.version, what.epoch, what.url, paths.cache)
    _put_lists(folder, what, images)
    (folder / "INSTALL.md").write_text(_guide((root / "docs" / "release.md").read_text(), what.version))
    shutil.copyfile(root / "LICENSE", folder / "LICENSE")
    if what.notes:
        (folder / "RELEASE_NOTES.md").write_text(what.notes)
    write_checksums(folder)


def _guide(page: str, version: str) -> str:
    """Return a page of the guide for readers who have this page alone: without links, and with this version in its commands."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", page).replace("0.1.0", version)


def put_others(source: Path, images: Path, version: str) -> None:
    """Copy archives that another machine has made of this version, from anywhere below a folder; ValueError if there are none."""
    found = [each for each in sorted(source.rglob(f"*-{version}-linux-*.tar")) if not (images / each.name).exists()]
    if not found:
        raise ValueError(f"{source} has no images of {version} for another architecture")
    for archive in found:
        shutil.copyfile(archive, images / archive.name)


def _put_lists(folder: Path, what: Contents, images: list[Archived]) -> None:
    """Write a CycloneDX document of each image and of the plugin, and the list of licences."""
    parts: dict[str, list[Package]] = {each.name: packages_of(each.lists) for each in images}
    parts[NAME] = packages_of(unzipped(folder / f"{NAME}-{what.version}-{PLATFORMS[0]}"))
    sboms = folder / "sbom"
    sboms.mkdir()
    for name, packages in parts.items():
        kind = ComponentType.APPLICATION if name == NAME else ComponentType.CONTAINER
        (sboms / f"{name}.cdx.json").write_text(document(name, what.version, kind, packages, what.epoch))
    (folder / "LICENSES.md").write_text(licence_list(parts))
