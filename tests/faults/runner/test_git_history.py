"""A repository with a long history of large files, of which a run needs one commit."""

from __future__ import annotations

import os
import subprocess

from support.git_project import spec_of
from support.git_server import GitServer, Repository, count_sent, git
from support.runner_harness import RunnerHarness, write_project

COMMITS = 10
SIZE = 50_000_000
"""Bytes of a file that cannot be compressed, another one in each commit."""


def with_history(server: GitServer) -> Repository:
    """Return a repository whose commits each replace a large file. The objects go into the bare repository at once, uncompressed."""
    found = Repository.create(server.root)
    write_project(found.tree / "dbt")
    git(found.tree, "config", "core.compression", "0")
    git(found.tree, "config", "core.bigFileThreshold", "1m")
    for number in range(COMMITS):
        (found.tree / "dump.bin").write_bytes(os.urandom(SIZE))
        found.commit(f"Dump {number}")
    return found


def size_of_history(repository: Repository) -> int:
    """Return the bytes of all objects of the branch, as a clone would receive them."""
    command = ["git", "rev-list", "--objects", "--disk-usage", "main"]
    return int(subprocess.run(command, cwd=repository.bare, capture_output=True, check=True, timeout=60).stdout)


def test_500_mb_of_history_stay_on_the_server(runner: RunnerHarness, git_server: GitServer):
    """A fetch receives the files of its commit, whatever came before. The control: a commit with one such file is that large."""
    repository = with_history(git_server)
    assert size_of_history(repository) > COMMITS * SIZE
    spec = spec_of(runner, git_server, ref={"branch": "main"})
    counted = count_sent(git_server)
    assert "fetched main@sha1:" in runner.fetch(spec, run="petit-1")
    assert SIZE < counted() < SIZE * 1.1
    (repository.tree / "dump.bin").unlink()
    repository.commit("Remove the dumps")
    counted = count_sent(git_server)
    assert "fetched main@sha1:" in runner.fetch(spec, run="petit-2")
    assert counted() < 1_000_000
