"""Faults of a repository: each has its own message, and none contains a secret."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from refresh_runner.repository import handover
from refresh_runner.repository.handover import Fetched
from support.certificates import create_certificate
from support.git_server import GitServer, Repository, git, unavailable
from support.runner_harness import RunnerHarness, write_project

Json = dict[str, Any]
PASSWORD = "entrez-vite-42"


class Case:
    """A repository with the small project in the folder dbt, a server of it, and the init container of a refresh."""

    def __init__(self, runner: RunnerHarness, server: GitServer) -> None:
        self.runner, self.server = runner, server
        self.repository = Repository.create(server.root)
        write_project(self.repository.tree / "dbt")
        self.commit = self.repository.commit("Add the project")
        self.secret = server.secret()
        self.log = ""

    def fetch(self, run: str = "", **fields: Any) -> Fetched:
        """Fetch the project of a refresh with these fields of `project.git`; the default is `main` with the right Secret."""
        self.runner.secrets["git"] = self.secret
        source = {"url": self.server.url(), "path": "dbt", "ref": {"branch": "main"}, "secretRef": {"name": "git"}, **fields}
        self.log = self.runner.fetch(self.runner.spec(project={"git": source}), run)
        fetched = handover.read(self.runner.fetched)
        for text in (self.log, fetched.model_dump_json()):
            assert PASSWORD not in text
        return fetched

    def fails(self, *words: str, reason: str = "ProjectUnavailable", retryable: bool = False, **fields: Any) -> None:
        """Fetch, and check that it fails with this message."""
        fetched = self.fetch(**fields)
        assert fetched.reason == reason, fetched
        for word in words:
            assert word in f"{fetched.message} ({fetched.hint})"
        assert fetched.retryable == retryable, fetched.message


@pytest.fixture
def case(runner: RunnerHarness, tmp_path: Path) -> Iterator[Case]:
    """A repository that can be fetched, on a server with a login."""
    with GitServer(tmp_path / "served", username="refresh", password=PASSWORD) as server:
        yield Case(runner, server)


def test_each_kind_of_ref_is_fetched(case: Case):
    """The control of all cases below. A commit is fetched by its hash, even if no branch contains it any more."""
    tree = case.repository.tree
    case.repository.tag("v1", "--annotate", "--message", "One")
    case.repository.tag("v1-light")
    (tree / "dbt/models/marts/mart_b.sql").unlink()
    newer = case.repository.commit("Remove a mart")
    for ref, revision in (
        ({"branch": "main"}, f"main@sha1:{newer}"),
        ({}, f"HEAD@sha1:{newer}"),
        ({"tag": "v1"}, f"v1@sha1:{case.commit}"),
        ({"tag": "v1-light"}, f"v1-light@sha1:{case.commit}"),
        ({"commit": case.commit}, f"sha1:{case.commit}"),
    ):
        fetched = case.fetch(ref=ref)
        assert fetched.project
        assert fetched.project.revision == revision
        has_mart = (case.runner.fetched / fetched.folder / "models/marts/mart_b.sql").is_file()
        assert has_mart == revision.endswith(case.commit)
    assert len(list((case.runner.fetched / "source").iterdir())) == 1


def test_only_one_commit_of_a_long_history_is_fetched(case: Case):
    """The history stays on the server: a file of 20 MB that a later commit removed is not sent."""
    big = case.repository.tree / "big.bin"
    big.write_bytes(os.urandom(20_000_000))
    case.repository.commit("Add something big")
    big.unlink()
    case.repository.commit("Remove it")
    sent = 0

    def count(request: BaseHTTPRequestHandler) -> bool:
        nonlocal sent
        write = request.wfile.write

        def counted(content: Any) -> int:
            nonlocal sent
            sent += len(content)
            return write(content)

        request.wfile.write = counted  # type: ignore[method-assign]
        return False

    case.server.fault = count
    assert case.fetch().project
    assert sent < 1_000_000


def test_a_branch_or_tag_or_commit_that_is_not_there(case: Case):
    """The message names it, and the run does not try again."""
    case.fails("branch gone does not exist", "spec.project.git.ref", ref={"branch": "gone"})
    case.fails("tag v9 does not exist", ref={"tag": "v9"})
    case.fails("commit aaaa", "does not exist", ref={"commit": "a" * 40})


def test_an_empty_repository(case: Case):
    """Somebody has created it, but not yet pushed to it."""
    Repository.create(case.server.root, "empty.git")
    case.fails("the repository is empty", url=case.server.url("empty.git"), ref={})


def test_no_such_repository(case: Case):
    """The address has a typing error."""
    case.fails("there is no such repository", "spec.project.git.url", url=case.server.url("warehose.git"))


def test_wrong_and_missing_credentials(case: Case):
    """401 is not retried: the Secret must be changed."""
    case.secret = case.server.secret(password="wrong-password-7")
    case.fails("the server refused the credentials", "spec.project.git.secretRef")
    case.secret = {"ca.crt": case.server.certificate.text}
    case.fails("the server refused the credentials")
    case.fails("the Secret 'nobody' does not exist", secretRef={"name": "nobody"})


def test_a_token_is_a_password_for_any_user(case: Case):
    """Forges issue tokens. Users should not have to invent a user name for one."""
    case.server.username = "git"
    case.secret = {"ca.crt": case.server.certificate.text, "password": PASSWORD}
    assert case.fetch().project


def test_a_bearer_token(case: Case):
    """It is sent in a header, but not to a server to which this one redirects."""
    case.server.bearer_token = PASSWORD
    case.secret = case.server.secret()
    assert case.fetch().project
    case.server.fault = redirecting("https://localhost:1/elsewhere.git")
    case.fails("redirect")


def redirecting(url: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Return a fault that redirects every request."""

    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(302)
        request.send_header("Location", f"{url}/info/refs?service=git-upload-pack")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return answer


def test_a_redirect_is_not_followed(case: Case, tmp_path: Path):
    """It would bypass the addresses that the chart allows. Forges redirect old names: the refresh must use the new one."""
    with GitServer(tmp_path / "elsewhere", username="refresh", password=PASSWORD) as other:
        Repository.create(other.root)
        case.secret = case.server.secret(**{"ca.crt": case.server.certificate.text + other.certificate.text})
        case.server.fault = redirecting(other.url())
        case.fails("the server redirects to another address", "spec.project.git.url")
        assert not other.requests


def test_a_certificate_that_is_not_trusted(case: Case, tmp_path: Path):
    """The Secret has another CA than the server's, or none."""
    case.secret = case.server.secret(**{"ca.crt": create_certificate(tmp_path / "other.pem").text})
    case.fails("the server's certificate is not trusted", "ca.crt")
    case.secret = {"username": "refresh", "password": PASSWORD}
    case.fails("the server's certificate is not trusted")


def test_a_server_that_hangs_ends_with_the_timeout(case: Case):
    """The fetch has its own timeout, and another attempt follows."""

    def hang(_request: BaseHTTPRequestHandler) -> bool:
        time.sleep(20)
        return True

    case.server.fault = hang
    started = time.monotonic()
    case.fails("timed out (spec.project.git.timeout)", retryable=True, timeout="2s")
    assert time.monotonic() - started < 8


def test_a_server_that_is_busy_is_asked_again(case: Case):
    """The server responds with 503 twice, and then with the project."""
    answers = [503, 503]

    def busy(request: BaseHTTPRequestHandler) -> bool:
        if not answers:
            return False
        request.send_response(answers.pop())
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    case.server.fault = busy
    assert case.fetch().project
    assert case.log.count("retrying") == 2


def test_an_unreachable_server(case: Case):
    """Nothing listens at the address, or its name does not resolve."""
    case.fails("the server cannot be reached", retryable=True, url="https://localhost:1/warehouse.git", timeout="1s")
    case.fails("the server cannot be reached", retryable=True, url="https://nowhere.invalid/warehouse.git", timeout="1s")


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


def test_a_link_inside_the_repository_is_followed(case: Case):
    """The control: projects share macros in this way."""
    tree = case.repository.tree
    (tree / "shared").mkdir()
    (tree / "shared/m.sql").write_text("{% macro m() %}1{% endmacro %}")
    (tree / "dbt/macros/shared").symlink_to("../../shared")
    case.repository.commit("Share macros")
    fetched = case.fetch()
    assert (case.runner.fetched / fetched.folder / "macros/shared/m.sql").read_text().startswith("{% macro")


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


def test_a_later_attempt_takes_the_same_commit(case: Case):
    """Even after the branch was rewritten, and although the first attempt never held the lock. The next run uses the new commit."""
    assert case.fetch(run="petit-7").project
    git(case.repository.tree, "commit", "--quiet", "--amend", "--message", "Rewritten")
    git(case.repository.tree, "push", "--quiet", "--force", "origin", "HEAD:main")
    same = case.fetch(run="petit-7")
    assert same.project
    assert same.project.revision == f"main@sha1:{case.commit}"
    other = case.fetch(run="petit-8")
    assert other.project
    assert other.project.revision != same.project.revision


def test_who_can_write_the_run_log_cannot_choose_a_commit(case: Case):
    """Run IDs are predictable: a row for the next run must not decide its commit. Nor must a changed or copied entry."""
    other = case.repository.commit("Another commit", branch="other")
    columns = "run_id text, namespace text, refresh text, revision text, started_at timestamptz, outcome text, mode text"
    case.runner.database.run(f"create table dbt_refresh_run ({columns})")
    row = f"'essai', 'petit', 'main@sha1:{other}', now(), 'Succeeded', 'refresh'"
    case.runner.database.run(f"insert into dbt_refresh_run values ('petit-7', {row})")
    fetched = case.fetch(run="petit-7")
    assert fetched.project
    assert fetched.project.revision == f"main@sha1:{case.commit}"
    case.runner.database.run(
        f"update dbt_refresh_project_cache set content = 'main@sha1:{other}' where name like '%pin%'",
    )
    fetched = case.fetch(run="petit-7")
    assert fetched.project
    assert fetched.project.revision == f"main@sha1:{case.commit}"


def test_a_rollback_needs_no_repository(case: Case):
    """A rollback at 3 a.m. must not depend on the server of the project."""
    runner = case.runner
    spec = runner.spec(project={"git": {"url": case.server.url(), "path": "dbt", "secretRef": {"name": "git"}, "timeout": "1s"}})
    runner.secrets["git"] = case.secret
    for _ in range(2):
        runner.fetch(spec)
        assert runner.run(spec).code == 0
    case.server.fault = unavailable
    runner.fetch(spec, mode="rollback")
    ran = runner.run(spec, mode="rollback")
    assert (ran.code, ran.termination_message and ran.termination_message.reason) == (0, "RolledBack"), ran.output
    runner.fetch(spec)
    assert runner.run(spec).code == 75


def test_a_tag_that_was_moved_is_said(case: Case):
    """A tag should never name another commit than in the previous run."""
    case.repository.tag("v1")
    case.runner.database.run(
        "create table dbt_refresh_run"
        " (run_id text primary key, namespace text, refresh text, mode text, outcome text, revision text, started_at timestamptz)"
    )
    case.runner.database.run(
        f"insert into dbt_refresh_run values ('petit-7', 'essai', 'petit', 'refresh', null, 'v1@sha1:{case.commit}', now())"
    )
    same = case.fetch(run="petit-8", ref={"tag": "v1"})
    assert same.project
    assert same.project.message is None
    moved = case.repository.commit("More")
    case.repository.tag("v1")
    fetched = case.fetch(run="petit-9", ref={"tag": "v1"})
    assert fetched.project
    assert fetched.project.message == f"tag v1 was moved from commit {case.commit[:12]}, used by the previous run, to {moved[:12]}"


def test_a_warehouse_that_cannot_be_asked_is_the_failure(case: Case):
    """The commit of an earlier attempt is then unknown, and no other one must be used."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        case.runner.secrets["warehouse"] = {**case.runner.database.secret, "host": "127.0.0.1", "port": str(taken.getsockname()[1])}
        case.fails("cannot connect to the warehouse", reason="WarehouseUnreachable", retryable=True)
