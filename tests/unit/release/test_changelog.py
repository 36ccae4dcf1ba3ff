"""The changelog's sections, and the version of a checkout."""

import subprocess
from pathlib import Path

import pytest

from release import changelog
from release.version import prepare, problems, semantic

TEXT = "# Changelog\n\n## Unreleased\n\n### Added\n- this\n\n## 0.1.0 - 2026-01-02\n- that\n"


def test_unreleased_becomes_the_section_of_a_version():
    """What comes later has a place again."""
    text = changelog.promoted(TEXT, "0.2.0", "2026-02-03")
    assert text.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-02-03\n\n### Added\n- this\n\n## 0.1.0")
    assert changelog.section(text, "0.2.0") == "### Added\n- this\n"
    assert changelog.section(text, "0.1.0") == "- that\n"


@pytest.mark.parametrize("version", ["0.1.0", "0.3.0"])
def test_a_version_is_promoted_once_and_not_without_changes(version):
    """Twice would hide the first section; nothing to say is a mistake."""
    text = TEXT if version == "0.1.0" else TEXT.replace("### Added\n- this\n\n", "")
    with pytest.raises(ValueError, match=version if version == "0.1.0" else "nothing below"):
        changelog.promoted(text, version, "2026-02-03")


@pytest.mark.parametrize("version", ["0.2.0", "0.1"])
def test_a_version_without_a_section_has_no_notes(version):
    """`0.1` is no abbreviation of 0.1.0."""
    with pytest.raises(ValueError, match="release-version"):
        changelog.section(TEXT, version)


@pytest.mark.parametrize("text", ["1", "v1.0.0", "1.0", "01.0.0", "1.0.0-beta", "1.0.0-rc.0", "1.0.0\n", "../1.0.0", ""])
def test_only_versions_are_released(text):
    """The version names folders and images."""
    with pytest.raises(ValueError, match="not a version"):
        semantic(text)
    assert semantic("1.20.3-rc.1") == "1.20.3-rc.1"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a chart, a distribution and a changelog."""
    (tmp_path / "deploy/helm").mkdir(parents=True)
    (tmp_path / "deploy/helm/Chart.yaml").write_text('name: c\nversion: 0.1.0\nappVersion: "0.1.0"\n')
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds/pyproject.toml").write_text('[project]\nname = "c"\nversion = "0.1.0"\ndependencies = ["x>=2"]\n')
    (tmp_path / "CHANGELOG.md").write_text(TEXT)
    commit(tmp_path)
    return tmp_path


def commit(checkout: Path) -> None:
    git = ["git", "-C", str(checkout), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=c"]):
        subprocess.run([*git, *words], check=True)


def test_a_prepared_version_can_be_released_once_it_is_committed(checkout):
    """Chart, distributions and changelog agree; a release candidate is written as Python writes it."""
    assert len(list(problems(checkout, "0.2.0-rc.1"))) == 5
    prepare(checkout, "0.2.0-rc.1")
    assert list(problems(checkout, "0.2.0-rc.1")) == ["the checkout has changes that are not committed"]
    commit(checkout)
    assert list(problems(checkout, "0.2.0-rc.1")) == []
    assert 'version = "0.2.0rc1"\ndependencies = ["x>=2"]' in (checkout / "crds/pyproject.toml").read_text()


def test_what_differs_is_named(checkout):
    """A distribution that was forgotten would be released under its old version."""
    prepare(checkout, "0.2.0")
    (checkout / "crds/pyproject.toml").write_text('[project]\nname = "c"\nversion = "0.1.0"\n')
    commit(checkout)
    assert list(problems(checkout, "0.2.0")) == ["crds/pyproject.toml is 0.1.0, not 0.2.0: run `make release-version VERSION=0.2.0`"]
