"""`make bundle`: everything that an installation without a registry needs, in one folder with checksums.

The images are those of this checkout, for this machine's architecture; the chart's defaults name them, so nothing must be set once the
nodes have them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml

from cluster.embedded.binaries import HELM_PROGRAM, build
from cluster.images import OPERATOR, PAGE, RUNNER, Image, build_images
from cluster.paths import Paths, paths_of
from cluster.seam import builder_of

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm"
_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Versions for which the plugin's packages are in the bundle."""
_DISTRIBUTIONS = ("crds", "cli")
"""Our packages of which the plugin consists."""


def main() -> int:
    """Write the bundle, and print its path."""
    version = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    folder = ROOT / "dist" / f"dashboard-refresh-{version}-linux-{machine}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = paths_of(os.environ)
    put_images(paths, folder / "images", version)
    put_chart(paths, folder)
    put_plugin(folder / "plugin")
    for crd in (ROOT / "crds").glob("*.yaml"):
        shutil.copy2(crd, folder)
    shutil.copy2(ROOT / "docs" / "offline.md", folder / "INSTALL.md")
    shutil.copy2(ROOT / "LICENSE", folder)
    write_checksums(folder)
    print(f"bundle: {folder.relative_to(ROOT)}, {sum(each.stat().st_size for each in _files(folder)) / 1e6:.0f} MB")
    return 0


def put_images(paths: Paths, folder: Path, version: str) -> None:
    """Write an archive of each image, tagged with the version."""
    folder.mkdir()
    builder = builder_of(paths)
    references = build_images(paths, builder)
    for image in (OPERATOR, RUNNER, PAGE):
        tag = references[image.name].partition(":")[2]
        retag(builder.archive(image, tag), folder / f"{image.name}.tar", image, version)


def retag(archive: Path, target: Path, image: Image, version: str) -> None:
    """Copy a `docker save` archive with another tag; its layers stay as they are."""
    with tarfile.open(archive) as source, tarfile.open(target, "w") as copy:
        for member in source:
            content = source.extractfile(member) if member.isfile() else None
            if member.name == "manifest.json" and content:
                (entry,) = json.load(content)
                data = json.dumps([{**entry, "RepoTags": [f"docker.io/library/{image.name}:{version}"]}]).encode()
                member.size, content = len(data), io.BytesIO(data)
            if member.name not in ("repositories", "index.json", "oci-layout"):
                copy.addfile(member, content)


def put_chart(paths: Paths, folder: Path) -> None:
    """Write the chart as a Helm package."""
    helm = shutil.which("helm") or str(build(HELM_PROGRAM, paths.cache))
    subprocess.run([helm, "package", str(CHART), "--destination", str(folder)], check=True, timeout=120, stdout=subprocess.DEVNULL)


def put_plugin(folder: Path) -> None:
    """Write the wheels of the plugin and of all that it needs."""
    folder.mkdir()
    pip = [sys.executable, "-m", "pip"]
    for each in _DISTRIBUTIONS:
        build_wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT / each)]
        subprocess.run(build_wheel, check=True, timeout=300)
    machine = platform.machine()
    wanted = ["--platform", f"manylinux_2_17_{machine}", "--platform", f"manylinux2014_{machine}", "--only-binary", ":all:", "--no-deps"]
    for python in _PYTHONS:
        download = [*pip, "download", "--quiet", "--dest", str(folder), "--python-version", python, *wanted]
        subprocess.run([*download, "--require-hashes", "-r", str(ROOT / "requirements" / "cli.txt")], check=True, timeout=300)


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check` reads."""
    lines = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.relative_to(folder)}\n" for each in _files(folder)]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())


if __name__ == "__main__":
    sys.exit(main())
