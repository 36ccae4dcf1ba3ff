"""`make release` on a clean checkout, without the images, which tests/faults/release builds."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from refresh_cli.arguments import HELP
from release.plugin import machine

ROOT = Path(__file__).parents[3]
VERSION = "9.9.9"
PLUGIN = f"kubectl-dashboardrefresh-{VERSION}-linux-{machine()}"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(platform.system() != "Linux", reason="starts the plugin for Linux")]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; return the completed process."""
    words = [str(each) for each in command]
    return subprocess.run(words, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=290, check=False)


def git(checkout: Path, *words: str) -> None:
    done = run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words, cwd=checkout)
    assert done.returncode == 0, done.stderr


def make(checkout: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run what `make` runs, with the modules of that checkout."""
    return run(sys.executable, "-m", "release", *words, cwd=checkout, PYTHONPATH=f"{checkout}/tests:{checkout}/scripts")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of what is tracked here, with changes that are not committed, and the next version prepared and committed."""
    place = tmp_path_factory.mktemp("release") / "checkout"
    tracked = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\0")
    for name in tracked:
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    notes = place / "CHANGELOG.md"
    notes.write_text(notes.read_text().replace("## Unreleased\n", "## Unreleased\n\n### Added\n- A change for the test.\n", 1))
    assert make(place, "version", VERSION).returncode == 0
    git(place, "init", "--quiet")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message=Release")
    return place


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key that signs releases."""
    place = tmp_path_factory.mktemp("keys") / "key"
    assert run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place, cwd=place.parent).returncode == 0
    return place


@pytest.fixture(scope="module")
def release(checkout: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the release, alone in an empty folder."""
    into = tmp_path_factory.mktemp("dist")
    done = make(checkout, "release", VERSION, "--without-images", "--into", into, "--key", key)
    assert done.returncode == 0, done.stderr
    return into / VERSION


def digests(folder: Path) -> dict[str, str]:
    found = (each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): hashlib.sha256(each.read_bytes()).hexdigest() for each in found}


def test_two_runs_write_the_same_bytes(checkout, release, key, tmp_path):
    """Also from files with other times and modes, and with what an earlier build has left. Anybody can check what was released."""
    for each in checkout.rglob("*"):
        if each.is_file() and ".git" not in each.parts:
            os.utime(each, (1_600_000_000, 1_600_000_000))
    (checkout / "cli/build/lib/refresh_cli").mkdir(parents=True)
    (checkout / "cli/build/lib/refresh_cli/forgotten.py").write_text("")
    done = make(checkout, "release", VERSION, "--without-images", "--into", tmp_path, "--key", key)
    assert done.returncode == 0, done.stderr
    first, second = digests(release), digests(tmp_path / VERSION)
    assert [name for name in first | second if first.get(name) != second.get(name)] == []
    assert {"crds.yaml", f"dashboard-refresh-{VERSION}.tgz", PLUGIN, f"wheels/refresh_cli-{VERSION}-py3-none-any.whl"} <= first.keys()


def test_a_checkout_with_changes_is_not_released(checkout, tmp_path):
    """Nobody could make the same release again. The reasons are all named at once."""
    (checkout / "new.txt").write_text("")
    done = make(checkout, "release", "9.9.8", "--without-images", "--into", tmp_path)
    (checkout / "new.txt").unlink()
    assert done.returncode == 1
    for reason in ("changes that are not committed", "no section '## 9.9.8", "Chart.yaml: version is 9.9.9", "cli/pyproject.toml is 9.9.9"):
        assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_checksums_cover_all_files_and_the_signature_covers_the_checksums(release, key, tmp_path):
    """A changed file, a changed list, another key and another purpose are detected."""
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in (release / "SHA256SUMS").read_text().splitlines())}
    found = digests(release)
    assert listed == {name: digest for name, digest in found.items() if not name.startswith("SHA256SUMS")}
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f"releases {key.with_suffix('.pub').read_text()}")

    def verified(text: str, namespace: str = "dashboard-refresh") -> bool:
        command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "releases", "-n", namespace, "-s", "SHA256SUMS.sig"]
        return subprocess.run(command, cwd=release, input=text, capture_output=True, text=True, timeout=30, check=False).returncode == 0

    text = (release / "SHA256SUMS").read_text()
    assert verified(text)
    assert not verified(text.replace("0", "1", 1))
    assert not verified(text, "git")
    other = run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other", cwd=tmp_path)
    assert other.returncode == 0
    allowed.write_text(f"releases {(tmp_path / 'other.pub').read_text()}")
    assert not verified(text)


def test_the_chart_has_the_version_and_the_crds(release, helm):
    """helm reads the package, and renders images of this version."""
    package = release / f"dashboard-refresh-{VERSION}.tgz"
    shown = yaml.safe_load(run(helm, "show", "chart", package, cwd=release).stdout)
    assert (shown["version"], shown["appVersion"]) == (VERSION, VERSION)
    crds = list(yaml.safe_load_all((release / "crds.yaml").read_text()))
    assert list(yaml.safe_load_all(run(helm, "show", "crds", package, cwd=release).stdout)) == crds
    assert {each["kind"] for each in crds} == {"CustomResourceDefinition"}
    rendered = run(helm, "template", "r", package, cwd=release)
    assert f"refresh-operator:{VERSION}" in rendered.stdout, rendered.stderr


PYTHONS = [found for minor in range(11, 16) if (found := shutil.which(f"python3.{minor}"))]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_plugin_is_one_file_for_each_python(release, python, tmp_path):
    """Without any package, by its cache and without one; completion works by its other name."""
    program = tmp_path / "kubectl-dashboardrefresh"
    shutil.copy(release / PLUGIN, program)
    if run(python, "--version", cwd=tmp_path).returncode:
        pytest.skip(f"{python} does not start")
    for cache in (tmp_path / "cache", tmp_path / "cache", Path("/proc/none")):
        done = run(python, "-I", program, "--help", cwd=tmp_path, XDG_CACHE_HOME=str(cache))
        assert (done.returncode, "preview" in done.stdout) == (0, True), done.stderr
    (unpacked,) = (tmp_path / "cache/kubectl-dashboardrefresh").iterdir()
    assert unpacked.stat().st_mode & 0o077 == 0
    completion = program.rename(tmp_path / "kubectl_complete-dashboardrefresh")
    done = run(python, "-I", completion, "", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert [line.split("\t")[0] for line in done.stdout.splitlines()[:-1]] == list(HELP)


def test_the_plugin_uses_no_cache_of_others(release, tmp_path):
    """Whoever can write to the folder could have put other code there."""
    cache = tmp_path / "cache"
    start = (sys.executable, "-I", release / PLUGIN, "--help")
    assert run(*start, cwd=tmp_path, XDG_CACHE_HOME=str(cache)).returncode == 0
    (unpacked,) = (cache / "kubectl-dashboardrefresh").iterdir()
    (unpacked / "refresh_cli/arguments.py").write_text("raise SystemExit('code of others')\n")
    assert "code of others" in run(*start, cwd=tmp_path, XDG_CACHE_HOME=str(cache)).stderr
    unpacked.chmod(0o777)
    assert run(*start, cwd=tmp_path, XDG_CACHE_HOME=str(cache)).returncode == 0


def test_an_unsuitable_python_is_named(release, tmp_path):
    """Instead of an error of an import."""
    old = next((found for minor in range(7, 11) if (found := shutil.which(f"python3.{minor}"))), None)
    if old is None or run(old, "--version", cwd=tmp_path).returncode:
        pytest.skip("this machine has no Python before 3.11")
    done = run(old, release / PLUGIN, "--help", cwd=tmp_path)
    assert (done.returncode, "required: one of cpython-311" in done.stderr) == (2, True), done.stderr


def test_krews_manifest_names_the_archives_by_their_sums(release):
    """For each platform, with the program under the name that kubectl looks for."""
    manifest = yaml.safe_load((release / "dashboardrefresh.yaml").read_text())
    assert (manifest["metadata"]["name"], manifest["spec"]["version"]) == ("dashboardrefresh", f"v{VERSION}")
    platforms = manifest["spec"]["platforms"]
    assert [tuple(each["selector"]["matchLabels"].values()) for each in platforms] == [
        ("linux", "amd64"),
        ("linux", "arm64"),
        ("darwin", "amd64"),
        ("darwin", "arm64"),
    ]
    for each in platforms:
        archive = release / each["uri"].rpartition("/")[2]
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == each["sha256"]
        with tarfile.open(archive) as opened:
            member = opened.getmember(each["bin"])
            assert member.mode == 0o755
            content = opened.extractfile(member)
            assert content is not None
            assert content.read() == archive.with_suffix("").with_suffix("").read_bytes()
            assert set(opened.getnames()) == {file["from"] for file in each["files"]}


def test_the_plugins_contents_are_listed(release):
    """As a valid CycloneDX document, with a licence each."""
    text = (release / "sbom/kubectl-dashboardrefresh.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {each["name"] for each in json.loads(text)["components"]}
    assert {"pydantic", "pydantic-core", "refresh-api", "refresh-cli", "tzdata"} <= names
    licences = (release / "LICENSES.md").read_text()
    assert all(f"| {name} | " in licences for name in names)
    assert "not stated" not in licences


def test_notes_and_guide_are_those_of_the_version(release):
    """The notes are the changelog's section; the guide names no other page."""
    assert (release / "RELEASE_NOTES.md").read_text().startswith("### Added\n- A change for the test.\n")
    guide = (release / "INSTALL.md").read_text()
    assert f"install dashboard-refresh dashboard-refresh-{VERSION}.tgz" in guide
    assert "](" not in guide
