"""`make release`, `make release-version` and `make bundle`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from cluster.paths import paths_of
from release import changelog
from release.folder import URL, Contents, write
from release.plugin import machine
from release.sums import files_of, sign
from release.version import epoch_of, prepare, problems, semantic, version_of

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Execute a command; return the exit code."""
    options = _parser().parse_args()
    try:
        if options.command == "version":
            prepare(ROOT, semantic(options.version))
            print(f"release-version: {options.version} is in the chart, the distributions and CHANGELOG.md; read, commit and tag it")
        elif options.command == "bundle":
            version = version_of(ROOT)
            _write(options.into / f"dashboard-refresh-{version}-linux-{machine()}", Contents(version, epoch_of(ROOT)))
        else:
            _release(options)
    except (ValueError, subprocess.CalledProcessError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _release(options: argparse.Namespace) -> None:
    version = semantic(options.version)
    if found := list(problems(ROOT, version)):
        raise ValueError(f"{version} cannot be released:\n- " + "\n- ".join(found))
    notes = changelog.section((ROOT / "CHANGELOG.md").read_text(), version)
    folder = options.into / version
    contents = Contents(version, epoch_of(ROOT), options.url, notes, images=not options.without_images, others=options.images)
    _write(folder, contents)
    if options.key:
        sign(folder, options.key)
        print(f"release: signed with {options.key}")


def _write(folder: Path, what: Contents) -> None:
    write(paths_of(os.environ), folder, what)
    print(f"release: {folder}, {sum(each.stat().st_size for each in files_of(folder)) / 1e6:.0f} MB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    release = commands.add_parser("release", help="write the release of a version, from a clean checkout")
    release.add_argument("version")
    release.add_argument("--key", type=Path, help="SSH key that signs the checksums")
    release.add_argument("--url", default=URL, help="address below which the files will be published, for krew")
    release.add_argument("--images", type=Path, help="folder with archives of images for other architectures")
    release.add_argument("--without-images", action="store_true", help="leave the images out")
    bundle = commands.add_parser("bundle", help="write the same folder from the checkout as it is, without notes and signature")
    for each in (release, bundle):
        each.add_argument("--into", type=Path, default=ROOT / "dist", help="defaults to dist")
    commands.add_parser("version", help="write the version into the chart, the distributions and the changelog").add_argument("version")
    return parser


if __name__ == "__main__":
    sys.exit(main())
