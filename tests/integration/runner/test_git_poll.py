"""What a check for new commits reports: the commit that a fetch would take now, or why it is not known."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from refresh_api.names import TERMINATION_LOG_PATH
from refresh_runner.cli.parser import parser
from support.git_project import Case
from support.git_server import Repository


def test_the_commit_that_a_fetch_would_take(case: Case):
    """For each kind of ref. An annotated tag is peeled, and a branch whose name ends alike is not taken instead."""
    case.repository.tag("v1.2.0", "--annotate", "--message", "One")
    case.repository.tag("v1.1.0-light")
    older, newer = case.commit, case.repository.commit("More")
    case.repository.commit("Elsewhere", branch="other/refs/heads/main")
    for ref, revision in (
        ({"branch": "main"}, f"main@sha1:{newer}"),
        ({}, f"HEAD@sha1:{newer}"),
        ({"tag": "v1.2.0"}, f"v1.2.0@sha1:{older}"),
        ({"tag": "v1.1.0-light"}, f"v1.1.0-light@sha1:{older}"),
        ({"semver": "^1"}, f"v1.2.0@sha1:{older}"),
    ):
        seen, fetched = case.newest(ref=ref), case.fetch(ref=ref)
        assert (seen.revision, seen.error) == (revision, None)
        assert fetched.project
        assert fetched.project.revision == revision


def test_nothing_is_fetched_and_no_secret_but_the_repositorys_is_read(case: Case):
    """The pod of a check has no other Secret."""
    (case.repository.tree / "big.bin").write_bytes(os.urandom(1_000_000))
    case.repository.commit("Add something big")
    for folder in (case.runner.folder / "secrets", case.runner.fetched):
        shutil.rmtree(folder, ignore_errors=True)
    others = {name: case.runner.secrets.pop(name) for name in list(case.runner.secrets)}
    assert case.newest().revision
    assert list(case.runner.secrets) == ["git"]
    case.runner.secrets |= others
    assert not case.runner.fetched.exists()
    assert {each.path.partition("?")[0].rpartition("/")[2] for each in case.server.requests} <= {"refs", "git-upload-pack"}


def test_the_report_is_the_termination_message():
    """The operator reads it from the pod. Other subcommands that a pod runs write none."""
    assert parser().parse_args(["poll"]).termination_log == Path(TERMINATION_LOG_PATH)
    assert parser().parse_args(["fetch"]).termination_log == Path(os.devnull)


def test_why_a_commit_is_not_known(case: Case):
    """Each cause has the message that a fetch has."""
    case.repository.tag("v1.0.0")
    for words, fields in (
        ("branch gone does not exist", {"ref": {"branch": "gone"}}),
        ("tag v9 does not exist", {"ref": {"tag": "v9"}}),
        ("semver ^9 matches no tag: the highest versions are v1.0.0", {"ref": {"semver": "^9"}}),
        ("there is no such repository", {"url": case.server.url("warehose.git")}),
        ("the Secret 'nobody' does not exist (see spec.project.git.secretRef)", {"secretRef": {"name": "nobody"}}),
        ("the server cannot be reached", {"url": "https://localhost:1/warehouse.git", "timeout": "1s"}),
    ):
        seen = case.newest(**fields)
        assert seen.revision is None
        assert seen.error
        assert words in seen.error
    Repository.create(case.server.root, "empty.git")
    assert "the repository is empty" in (case.newest(url=case.server.url("empty.git"), ref={}).error or "")
    case.secret = case.server.secret(password="wrong-password-7")
    refused = case.newest().error or ""
    assert "the server refused the credentials" in refused
    assert "wrong-password-7" not in refused + case.log
