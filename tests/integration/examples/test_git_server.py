"""The command `refresh-examples git`: real processes, the real program git, TLS and a login."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.examples.test_command import COMMAND
from refresh_examples.git_server import create_repository
from support.certificates import create_certificate
from support.git_clone import Clone
from support.git_server import GitError, git

LOGIN = {"GIT_USERNAME": "refresh", "GIT_PASSWORD": "p@ss:/wörd"}


@dataclass(frozen=True)
class Served:
    """A server process with an empty repository."""

    process: subprocess.Popen[str]
    folder: Path
    port: int
    ca: str

    def clone(self, tree: Path, **changes: str) -> Clone:
        """Clone the repository with the login and the certificate, or with others."""
        secret = {"username": LOGIN["GIT_USERNAME"], "password": LOGIN["GIT_PASSWORD"], "ca.crt": self.ca, **changes}
        return Clone.of(f"https://localhost:{self.port}/dashboards.git", tree, secret)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A running server."""
    certificate = create_certificate(tmp_path / "tls.pem")
    folder = tmp_path / "repositories"
    options = ["--folder", str(folder), "--repository", "dashboards.git", "--certificate", str(certificate.file), "--port", "0"]
    process = subprocess.Popen([*COMMAND, "git", *options], env={**os.environ, **LOGIN}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = re.search(r"on 127\.0\.0\.1:(\d+)$", process.stdout.readline())
        assert said
        yield Served(process, folder, int(said[1]), certificate.text)
    finally:
        process.kill()
        process.communicate()


def commit(clone: Clone, text: str) -> str:
    """Commit and push a file; return the commit."""
    (clone.tree / "dbt_project.yml").write_text(text)
    found = clone.commit("Change the project", "dbt_project.yml")
    assert found
    return found


def test_a_pushed_commit_is_in_other_clones(served: Served, tmp_path: Path) -> None:
    """The demo pushes from one clone, and users change models in another. Without a change, nothing is committed."""
    first = served.clone(tmp_path / "first")
    commit(first, "name: one\n")
    second = served.clone(tmp_path / "second")
    assert (second.tree / "dbt_project.yml").read_text() == "name: one\n"
    assert second.commit("Change nothing", "dbt_project.yml") is None
    newer = commit(second, "name: two\n")
    assert (served.clone(first.tree).tree / "dbt_project.yml").read_text() == "name: two\n"
    assert (served.folder / "dashboards.git/refs/heads/main").read_text().strip() == newer


@pytest.mark.parametrize("path", ["dbt", "."])
def test_a_project_replaces_the_one_before_without_what_dbt_wrote(served: Served, tmp_path: Path, path: str) -> None:
    """A model that was removed must not stay in the repository, and dbt's logs must not come into it."""
    project = tmp_path / "dbt"
    for file in ("models/a.sql", "models/b.sql", "target/manifest.json", "logs/dbt.log"):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("select 1")
    clone = served.clone(tmp_path / "clone")
    for expected in (["a.sql", "b.sql"], ["a.sql"]):
        clone.replace(project, path)
        assert clone.commit("Take the project", path)
        pushed = git(served.clone(tmp_path / expected[-1]).tree, "ls-files", "--", path).splitlines()
        assert [Path(file).name for file in pushed] == expected
        (project / "models/b.sql").unlink(missing_ok=True)


def replace_repository(served: Served, tmp_path: Path, text: str) -> None:
    """Replace the repository by a new one with another history, as that of a new pod."""
    shutil.rmtree(served.folder / "dashboards.git")
    create_repository(served.folder / "dashboards.git")
    commit(served.clone(tmp_path / f"a clone with {text.strip()}"), text)


def test_a_clone_follows_the_server_unless_it_has_changes_of_its_own(served: Served, tmp_path: Path) -> None:
    """A new pod has an empty repository. What was not pushed exists nowhere else."""
    clone = served.clone(tmp_path / "clone")
    file = clone.tree / "dbt_project.yml"
    commit(clone, "name: one\n")
    replace_repository(served, tmp_path, "name: two\n")
    assert (served.clone(clone.tree).tree / file.name).read_text() == "name: two\n"
    file.write_text("name: mine\n")
    replace_repository(served, tmp_path, "name: three\n")
    with pytest.raises(GitError, match=f"{clone.tree} has changes that the server lacks; remove it to clone again"):
        served.clone(clone.tree)
    assert file.read_text() == "name: mine\n"


def test_a_client_needs_the_login_and_the_certificate(served: Served, tmp_path: Path) -> None:
    """The control is a client with both, before and after."""
    commit(served.clone(tmp_path / "control"), "name: one\n")
    with pytest.raises(GitError, match="Authentication failed"):
        served.clone(tmp_path / "guess", password="guess")
    with pytest.raises(GitError, match="certificate"):
        served.clone(tmp_path / "other", **{"ca.crt": create_certificate(tmp_path / "other.pem").text})
    assert served.clone(tmp_path / "again").commit("Change nothing", ".") is None


def test_a_client_that_sends_nothing_does_not_block_others(served: Served, tmp_path: Path) -> None:
    """kubelet's probes open a connection without a TLS handshake."""
    with closing(socket.create_connection(("127.0.0.1", served.port))):
        served.clone(tmp_path / "clone")


def test_the_server_ends_on_sigterm_and_keeps_its_repositories(served: Served, tmp_path: Path) -> None:
    """A restarted container has the same folder, and its first process ignores SIGTERM by default."""
    commit(served.clone(tmp_path / "clone"), "name: one\n")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(10) == 0
    head = (served.folder / "dashboards.git/refs/heads/main").read_text()
    missing = tmp_path / "missing.pem"
    options = ["--folder", str(served.folder), "--repository", "dashboards.git", "--certificate", str(missing)]
    again = subprocess.run(
        [*COMMAND, "git", *options], env={**os.environ, **LOGIN}, capture_output=True, text=True, check=False, timeout=30
    )
    assert (again.returncode, again.stderr) == (1, f"refresh-examples git: [Errno 2] No such file or directory: '{missing}'\n")
    assert (served.folder / "dashboards.git/refs/heads/main").read_text() == head


def test_a_server_without_a_login_is_refused(tmp_path: Path) -> None:
    """Otherwise anyone could push, and so choose what a refresh runs."""
    command = [*COMMAND, "git", "--folder", str(tmp_path / "none"), "--certificate", str(tmp_path / "none.pem")]
    environment = {name: value for name, value in os.environ.items() if name not in LOGIN} | {"GIT_USERNAME": "refresh"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (1, "refresh-examples git: set GIT_USERNAME and GIT_PASSWORD\n")
    assert not (tmp_path / "none").exists()
