"""What a repository contains: what is fetched as it is, and what is refused, with its own message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.git_project import Case
from support.git_server import git


def test_a_folder_without_a_project(case: Case):
    """spec.project.git.path is wrong. The message says which file is missing."""
    case.fails("no folder models", reason="InvalidProject", path="models")
    case.fails("the repository's top folder has no dbt_project.yml", reason="InvalidProject", path=".")
    case.fails("the repository's folder dbt/models has no dbt_project.yml", reason="InvalidProject", path="dbt/models")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "../../../../../../run/refresh/secrets"])
def test_a_link_that_leads_out(case: Case, target: str):
    """Its target would be read as a model or a seed, and end up in the warehouse."""
    (case.repository.tree / "dbt/models/out.sql").symlink_to(target)
    case.repository.commit("Link out")
    case.fails("dbt/models/out.sql in the repository is a link that points outside of it", reason="InvalidProject")


def test_links_in_two_steps_that_lead_out(case: Case):
    """Each of the links alone stays inside the repository."""
    tree = case.repository.tree
    (tree / "a").mkdir()
    (tree / "a/up").symlink_to("..")
    (tree / "dbt/models/out").symlink_to("../../a/up/..")
    case.repository.commit("Link out in two steps")
    case.fails("is a link that points outside of it", reason="InvalidProject")


def test_a_name_that_is_not_utf_8_is_told(case: Case):
    """The result is JSON, which cannot represent such names."""
    (case.repository.tree / "dbt/models/out\udce9.sql").symlink_to("/etc/passwd")
    case.repository.commit("Link out by an old name")
    case.fails("out\\udce9.sql in the repository is a link that points outside of it", reason="InvalidProject")


def test_files_are_as_they_are_in_the_commit(case: Case):
    """Attributes in the repository change neither line ends nor keywords: a changed seed would change a table."""
    (case.repository.tree / ".gitattributes").write_text("*.csv text eol=crlf\n*.md ident\n")
    (case.repository.tree / "dbt/a.csv").write_text("id\n1\n")
    (case.repository.tree / "dbt/a.md").write_text("$Id$\n")
    case.repository.commit("Add attributes")
    fetched = case.fetch()
    folder = case.runner.fetched / fetched.folder
    assert (folder / "a.csv").read_bytes() == b"id\n1\n"
    assert (folder / "a.md").read_text() == "$Id$\n"


@pytest.mark.slow
def test_a_link_inside_the_repository_is_followed(case: Case):
    """The control: projects share macros in this way."""
    tree = case.repository.tree
    (tree / "shared").mkdir()
    (tree / "shared/m.sql").write_text("{% macro m() %}1{% endmacro %}")
    (tree / "dbt/macros/shared").symlink_to("../../shared")
    case.repository.commit("Share macros")
    fetched = case.fetch()
    assert (case.runner.fetched / fetched.folder / "macros/shared/m.sql").read_text().startswith("{% macro")


@pytest.mark.slow
def test_a_submodule(case: Case):
    """Submodules are not fetched. Only one inside the project is an error."""
    inside = f"160000,{case.commit},dbt/models/sub"
    outside = f"160000,{case.commit},tools/sub"
    git(case.repository.tree, "update-index", "--add", "--cacheinfo", outside)
    git(case.repository.tree, "commit", "--quiet", "--message", "Add a submodule elsewhere")
    git(case.repository.tree, "push", "--quiet", "origin", "HEAD:main")
    assert case.fetch().project
    git(case.repository.tree, "update-index", "--add", "--cacheinfo", inside)
    git(case.repository.tree, "commit", "--quiet", "--message", "Add a submodule")
    git(case.repository.tree, "push", "--quiet", "origin", "HEAD:main")
    case.fails("dbt/models/sub in the repository is a submodule", reason="InvalidProject")


def test_a_pointer_of_git_lfs(case: Case):
    """dbt would load the pointer's three lines as a seed."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    (case.repository.tree / "dbt/seeds").mkdir()
    (case.repository.tree / "dbt/seeds/communes.csv").write_text(pointer)
    case.repository.commit("Store a seed in LFS")
    case.fails("dbt/seeds/communes.csv in the repository is a Git LFS pointer", reason="InvalidProject")


def test_nothing_of_the_repository_is_executed(case: Case, tmp_path: Path):
    """Attributes that name filters, a hook, a configuration and a .gitmodules are treated as plain files."""
    marker = tmp_path / "executed"
    tree = case.repository.tree
    (tree / ".gitattributes").write_text("*.sql filter=evil\ndbt/models/marts/* export-ignore\n*.yml export-subst\n")
    (tree / ".gitconfig").write_text(f'[filter "evil"]\n  smudge = touch {marker}\n')
    (tree / ".gitmodules").write_text(f'[submodule "x"]\n  path = x\n  url = -u./evil\n  update = !touch {marker}\n')
    (tree / "hooks").mkdir()
    (tree / "hooks/post-checkout").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (tree / "hooks/post-checkout").chmod(0o755)
    (tree / "dbt/models/note.yml").write_text("# $Format:%H$\n")
    case.repository.commit("Try to run something")
    fetched = case.fetch()
    folder = case.runner.fetched / fetched.folder
    assert fetched.project
    assert not marker.exists()
    assert (folder / "models/marts/mart_a.sql").is_file(), "export-ignore would have left it out"
    assert (folder / "models/note.yml").read_text() == "# $Format:%H$\n", "export-subst would have changed it"


@pytest.mark.slow
def test_a_full_disk(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file system of one megabyte. Another node may have more space, so another attempt follows."""
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {small}"):
        pytest.skip("needs root to mount a small file system")
    try:
        (case.repository.tree / "big.bin").write_bytes(os.urandom(5_000_000))
        case.repository.commit("Add something big")
        monkeypatch.setenv("TMPDIR", str(small))
        monkeypatch.setattr("tempfile.tempdir", str(small))
        case.fails("the disk is full", retryable=True, timeout="10s")
    finally:
        os.system(f"umount {small}")
