"""Repositories: revisions as text, and failures from git's messages."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from refresh_api.project import GitRef
from refresh_runner.repository.contents import archive_of
from refresh_runner.repository.credentials import Credentials
from refresh_runner.repository.failures import failure_of
from refresh_runner.repository.revision import Revision, refspec

COMMIT = "6e27e9a9" + "0" * 32
URL = "https://git.example.org/data/warehouse.git"


@pytest.mark.parametrize(
    ("ref", "text", "short"),
    [
        (GitRef(branch="main"), f"main@sha1:{COMMIT}", "main@6e27e9a9"),
        (GitRef(branch="release/2@x"), f"release/2@x@sha1:{COMMIT}", "release/2@x@6e27e9a9"),
        (GitRef(tag="v1"), f"v1@sha1:{COMMIT}", "v1@6e27e9a9"),
        (GitRef(), f"HEAD@sha1:{COMMIT}", "HEAD@6e27e9a9"),
        (GitRef(commit=COMMIT), f"sha1:{COMMIT}", "6e27e9a9"),
    ],
)
def test_a_revision_is_written_as_flux_writes_it_and_read_back(ref: GitRef, text: str, short: str):
    """The run log contains the text, from which later attempts read the commit."""
    revision = Revision.of(ref, COMMIT)
    assert (str(revision), revision.short) == (text, short)
    assert Revision.parse(text) == revision


@pytest.mark.parametrize(
    "text", ["", "main", "main@md5:12", "main@sha1:", "6e27e9a9", "main@sha1:refs/heads/other", f"main@sha256:{COMMIT}"]
)
def test_another_text_is_no_revision(text: str):
    """A user may have edited the run log."""
    assert Revision.parse(text) is None


def test_a_commit_of_an_earlier_attempt_goes_before_the_ref():
    """The branch may have moved since."""
    assert refspec(GitRef(commit=COMMIT)) == COMMIT
    assert refspec(GitRef(branch="main")) == "refs/heads/main"
    assert refspec(GitRef(tag="main")) == "refs/tags/main"


@pytest.mark.parametrize(
    ("output", "says", "retryable"),
    [
        ("fatal: couldn't find remote ref refs/heads/x", "branch x does not exist", False),
        ("fatal: couldn't find remote ref HEAD", "the repository is empty", False),
        ("remote: upload-pack: not our ref aaaa\nfatal: ...", "does not exist", False),
        ("fatal: Authentication failed for 'https://x/'", "the server refused the credentials", False),
        ("git@x: Permission denied (publickey).\nfatal: Could not read from remote", "the server refused the credentials", False),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "host key is not the one in known_hosts", False),
        ("fatal: unable to access 'https://x/': server certificate verification failed.", "certificate is not trusted", False),
        ("fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate", "certificate is not trusted", False),
        ("fatal: repository 'https://x/' not found", "there is no such repository", False),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "the server cannot be reached", True),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 503", "the server cannot be reached", True),
        ("fatal: unable to access 'https://x/': OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to x:443", "cannot be reached", True),
        ("fatal: write error: No space left on device", "the disk is full", True),
        ("fatal: something nobody has seen before", "git failed: fatal: something nobody has seen before", True),
    ],
)
def test_gits_messages_become_words(output: str, says: str, retryable: bool):
    """An unknown error is retried, since it may be transient."""
    failure = failure_of(output, URL, "branch x")
    assert says in failure.message
    assert URL in failure.message
    assert failure.retryable == retryable


@pytest.mark.parametrize("name", ["certificates", "redirects", "not-found"])
def test_the_name_of_a_repository_is_no_message(name: str):
    """git quotes the address. Otherwise a transient failure could end the run."""
    url = f"https://git.example.org/{name}.git"
    assert failure_of(f"fatal: unable to access '{url}/': Could not resolve host: git.example.org", url, "branch x").retryable


def test_no_more_of_a_folder_is_packed_than_may_be_kept(tmp_path: Path):
    """A repository may be larger than the memory of the container that fetches it."""
    (tmp_path / "big.bin").write_bytes(os.urandom(200_000))
    whole = archive_of(tmp_path, 300_000)
    assert whole is not None
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:gz") as archive:
        assert "./big.bin" in archive.getnames()
    assert archive_of(tmp_path, 100_000) is None


def test_a_password_is_also_secret_in_the_forms_in_which_it_is_sent():
    """A server may quote what it got."""
    secret = Credentials({"username": "refresh", "password": "à la/carte", "identity": "KEY"}).secret_values
    assert {"à la/carte", "KEY", "%C3%A0%20la%2Fcarte"} <= set(secret)
    assert any(value.startswith("cmVmcmVzaDr") for value in secret)
