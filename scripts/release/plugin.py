"""The plugin as one file for each platform, and its manifest for krew."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from cluster.once import made_once
from release.archives import unzipped, write_tgz, zip_of
from release.sums import digest_of

NAME: Final = "kubectl-dashboardrefresh"
_PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14", "3.15")
_START: Final = Path(__file__).with_name("plugin_start.py")


@dataclass(frozen=True)
class Platform:
    """A system that the plugin runs on, by krew's words, and the tags of its wheels."""

    system: str
    machine: str
    tags: tuple[str, ...]

    def __str__(self) -> str:
        """Return the name in files."""
        return f"{self.system}-{self.machine}"


PLATFORMS: Final = (
    Platform("linux", "amd64", ("manylinux_2_17_x86_64", "manylinux2014_x86_64")),
    Platform("linux", "arm64", ("manylinux_2_17_aarch64", "manylinux2014_aarch64")),
    Platform("darwin", "amd64", ("macosx_10_12_x86_64",)),
    Platform("darwin", "arm64", ("macosx_11_0_arm64",)),
)


def machine() -> str:
    """Return the architecture of this machine, as images and krew call it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def put_plugin(root: Path, folder: Path, version: str, epoch: int, url: str, cache: Path) -> None:
    """Write the plugin for each platform, as a file and as an archive for krew, and krew's manifest.

    `folder` has the wheels of our own distributions; `cache` keeps those of others.
    """
    ours = _merged(unzipped(each) for each in sorted((folder / "wheels").glob("*.whl")))
    sums: dict[Platform, str] = {}
    for each in PLATFORMS:
        program = _program({**ours, **_others(root, cache, each)}, epoch)
        file = folder / f"{NAME}-{version}-{each}"
        file.write_bytes(program)
        file.chmod(0o755)
        archive = file.with_name(f"{file.name}.tar.gz")
        content = {NAME: program, "LICENSE": (root / "LICENSE").read_bytes()}
        write_tgz(archive, content, epoch, frozenset({NAME}))
        sums[each] = digest_of(archive)
    (folder / "dashboardrefresh.yaml").write_text(_manifest(version, url, sums))


def _program(packages: Mapping[str, bytes], epoch: int) -> bytes:
    """Return the zip archive that Python runs, behind the line by which a shell finds Python."""
    files = {_place(name): content for name, content in packages.items()}
    digest = hashlib.sha256(b"".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()
    archive = zip_of({**files, "id": digest[:16].encode(), "__main__.py": _START.read_bytes()}, epoch)
    return b"#!/usr/bin/env python3\n" + archive


def _place(name: str) -> str:
    """Return where a file of the packages is in the archive: what is compiled for one version of Python is apart."""
    found = re.search(r"\.(cpython-[^/.]+)\.so$", name)
    return f"packages/{found[1] if found else 'any'}/{name}"


def _others(root: Path, cache: Path, of: Platform) -> dict[str, bytes]:
    """Return the files of the packages that ours need."""
    requirements = root / "requirements" / "cli.txt"
    key = hashlib.sha256(requirements.read_bytes() + " ".join(_PYTHONS).encode()).hexdigest()[:12]
    place = cache / "plugin" / f"{of}-{key}"
    made_once(place, cache / "plugin.lock", lambda: _download(requirements, place, of))
    return _merged(unzipped(each) for each in sorted(place.glob("*.whl")))


def _download(requirements: Path, place: Path, of: Platform) -> None:
    draft = place.with_suffix(".draft")
    wanted = [word for tag in of.tags for word in ("--platform", tag)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(draft), "--only-binary", ":all:", "--no-deps"]
    for python in _PYTHONS:
        command = [*pip, "--python-version", python, *wanted, "--require-hashes", "-r", str(requirements)]
        subprocess.run(command, check=True, timeout=300)
    draft.replace(place)


def _merged(wheels: Iterable[Mapping[str, bytes]]) -> dict[str, bytes]:
    return {name: content for wheel in wheels for name, content in wheel.items()}


def _manifest(version: str, url: str, sums: Mapping[Platform, str]) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
            "kind": "Plugin",
            "metadata": {"name": "dashboardrefresh"},
            "spec": {
                "version": f"v{version}",
                "homepage": url,
                "shortDescription": "Run, follow and inspect dashboard refreshes",
                "description": "Runs, cancels, follows and inspects DashboardRefresh resources, and previews changes of them.\n",
                "caveats": f"Requires Python {_PYTHONS[0]} to {_PYTHONS[-1]} as python3.\n",
                "platforms": [
                    {
                        "selector": {"matchLabels": {"os": each.system, "arch": each.machine}},
                        "uri": f"{url}/{NAME}-{version}-{each}.tar.gz",
                        "sha256": digest,
                        "bin": NAME,
                        "files": [{"from": name, "to": "."} for name in (NAME, "LICENSE")],
                    }
                    for each, digest in sums.items()
                ],
            },
        },
        sort_keys=False,
    )
