"""Refs, credentials and faults of the server of a repository: each fault has its own message, and none contains a secret."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support.certificates import create_certificate
from support.git_project import PASSWORD, Case
from support.git_server import GitServer, Repository, count_sent


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


@pytest.mark.slow
def test_only_one_commit_of_a_long_history_is_fetched(case: Case):
    """The history stays on the server: a file of 20 MB that a later commit removed is not sent."""
    big = case.repository.tree / "big.bin"
    big.write_bytes(os.urandom(20_000_000))
    case.repository.commit("Add something big")
    big.unlink()
    case.repository.commit("Remove it")
    counted = count_sent(case.server)
    assert case.fetch().project
    assert counted() < 1_000_000


def test_a_branch_or_tag_or_commit_that_is_not_there(case: Case):
    """The message names it, and the run does not try again."""
    case.fails("branch gone does not exist", "spec.project.git.ref", ref={"branch": "gone"})
    case.fails("tag v9 does not exist", ref={"tag": "v9"})
    case.fails("commit aaaa", "does not exist", ref={"commit": "a" * 40})


@pytest.mark.slow
def test_the_highest_version_in_a_range_is_fetched(case: Case):
    """Whatever the order of the tags, and of their commits. An annotated tag is peeled to its commit."""
    commits = {}
    for name, options in (
        ("v1.10.0", ("--annotate", "--message", "Ten")),
        ("1.9.3", ()),
        ("v2.0.0-rc.1", ()),
        ("v0.9.0", ()),
        ("latest", ()),
        ("models/v1.99.0", ()),
    ):
        commits[name] = case.repository.commit(f"Release {name}")
        case.repository.tag(name, *options)
    for semver, tag in (
        (">=1.2 <2", "v1.10.0"),
        ("~1.9.0", "1.9.3"),
        ("*", "v1.10.0"),
        (">=1.10.0-0", "v2.0.0-rc.1"),
        ("^0.9 || ^3", "v0.9.0"),
    ):
        fetched = case.fetch(ref={"semver": semver})
        assert fetched.project, fetched
        assert fetched.project.revision == f"{tag}@sha1:{commits[tag]}", semver


def test_no_version_in_a_range(case: Case):
    """The message lists the highest ones. A prerelease counts only if the range names one."""
    case.fails("semver ^3 matches no tag: no tag is a version, like v1.2.3", "spec.project.git.ref", ref={"semver": "^3"})
    for name in ("v2.0.0-rc.1", "v1.2.0", "v1.10.0", "newest"):
        case.repository.tag(name)
    case.fails("semver ^2 matches no tag: the highest versions are v2.0.0-rc.1, v1.10.0, v1.2.0", ref={"semver": "^2"})
    case.secret = case.server.secret(password="wrong-password-7")
    case.fails("the server refused the credentials", ref={"semver": "^1"})


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


@pytest.mark.slow
def test_a_token_is_a_password_for_any_user(case: Case):
    """Forges issue tokens. Users should not have to invent a user name for one."""
    case.server.username = "git"
    case.secret = {"ca.crt": case.server.certificate.text, "password": PASSWORD}
    assert case.fetch().project


@pytest.mark.slow
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


@pytest.mark.slow
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
