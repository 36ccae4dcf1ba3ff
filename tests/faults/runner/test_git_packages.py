"""dbt packages of a project from Git: according to the lock file, from allowed addresses, downloaded once."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refresh_api.names import ALLOWED_URLS_ENV
from refresh_runner.cli import preparing
from refresh_runner.repository import handover
from refresh_runner.repository.handover import Fetched
from support.git_server import GitServer, Repository, unavailable
from support.preview_pod import PreviewPod
from support.runner_harness import NO_ACCOUNT, RunnerHarness, write_project

MACRO = "{% macro soixante() %}60{% endmacro %}\n"
PACKAGE = "name: {name}\nversion: 1.0.0\nconfig-version: 2\n"


def write_package(folder: Path, name: str) -> None:
    """Write a package with one macro."""
    (folder / "macros").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(PACKAGE.format(name=name))
    (folder / "macros/soixante.sql").write_text(MACRO)


class Case:
    """A project that uses a macro of a package in another repository of the same server."""

    def __init__(self, runner: RunnerHarness, server: GitServer) -> None:
        self.runner, self.server = runner, server
        self.package = Repository.create(server.root, "outils.git")
        write_package(self.package.tree, "outils")
        self.package.commit("Add the package")
        self.repository = Repository.create(server.root)
        self.project = self.repository.tree / "dbt"
        write_project(self.project)
        model = self.project / "models/marts/mart_a.sql"
        model.write_text(model.read_text() + " where id <= {{ outils.soixante() }}")
        self.name_package(f"git: {server.url('outils.git')}\n    revision: main")
        self.log = ""

    def name_package(self, entry: str) -> None:
        """Require one package in packages.yml, and commit it with its lock file."""
        (self.project / "packages.yml").write_text(f"packages:\n  - {entry}\n")
        self.lock()
        self.repository.commit("Name a package")

    def lock(self) -> None:
        """Write the lock file, as an analyst does on a laptop."""
        (self.project / "package-lock.yml").unlink(missing_ok=True)
        program = Path(sys.executable).with_name("dbt")
        variables = {**os.environ, "GIT_SSL_CAINFO": str(self.server.certificate.file), "GIT_CONFIG_GLOBAL": os.devnull}
        command = [str(program), "deps", "--lock", "--project-dir", str(self.project), "--log-path", str(self.runner.folder / "logs")]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout
        shutil.rmtree(self.project / "dbt_packages", ignore_errors=True)

    def fetch(self, allowed: str = "https://localhost:*/*", **git: Any) -> Fetched:
        """Fetch the project of a refresh with `packages: Locked`."""
        self.runner.secrets["git"] = self.server.secret()
        source = {"url": self.server.url(), "path": "dbt", "secretRef": {"name": "git"}, "packages": "Locked", **git}
        self.spec = self.runner.spec(project={"git": source})
        self.log = self.runner.fetch(self.spec, **{ALLOWED_URLS_ENV: allowed})
        return handover.read(self.runner.fetched)


@pytest.fixture
def case(runner: RunnerHarness, tmp_path: Path) -> Iterator[Case]:
    """The project, on a server without a login."""
    with GitServer(tmp_path / "served") as server:
        yield Case(runner, server)


def test_packages_are_installed_by_the_lock_file_once(case: Case):
    """A later commit of the package is not used, and a later fetch does not request it."""
    (case.package.tree / "macros/soixante.sql").write_text(MACRO.replace("60", "61"))
    case.package.commit("Change the macro")
    assert case.fetch().project, case.log
    assert "installed the packages in package-lock.yml" in case.log
    assert case.runner.run(case.spec).code == 0
    assert case.runner.database.rows("select count(*) from dwh_marts.mart_a") == [(60,)]
    case.server.requests.clear()
    assert case.fetch().project
    assert "the packages are already downloaded" in case.log
    assert not [request for request in case.server.requests if "outils" in request.path]
    assert case.runner.run(case.spec).code == 0


def test_a_preview_installs_the_packages_of_both_commits_and_keeps_nothing(case: Case, tmp_path: Path):
    """What it keeps would be signed with a password that code of a branch has read."""
    assert case.fetch().project, case.log
    assert case.runner.run(case.spec).code == 0
    kept = "select name, xmin::text from dbt_refresh_project_cache order by 1"
    before = case.runner.database.rows(kept)
    assert before
    base = case.repository.commit("Nothing more")
    (case.package.tree / "macros/soixante.sql").write_text(MACRO.replace("60", "61"))
    case.package.commit("Change the macro")
    case.lock()
    case.repository.commit("Take the new package", "fix")
    case.runner.secrets["warehouse-preview"] = case.runner.database.secret
    pod = PreviewPod(tmp_path / "pod", case.runner.ref, case.runner.secrets, NO_ACCOUNT, {ALLOWED_URLS_ENV: "https://localhost:*/*"})
    assert pod.run(case.spec, {"branch": "fix"}, base) == 0, pod.output.getvalue()
    assert pod.end.message == "dwh_marts.mart_a: 1 added"
    assert case.runner.database.rows(kept) == before


def test_a_package_from_an_address_that_is_not_allowed(case: Case):
    """Its code would run with the warehouse's Secret."""
    case.server.requests.clear()
    fetched = case.fetch(allowed="https://localhost:*/warehouse.git")
    assert fetched.reason == "InvalidProject"
    assert f"the package {case.server.url('outils.git')} is not allowed by projects.allowedUrls" in fetched.message
    assert not [request for request in case.server.requests if "outils" in request.path]


def test_without_locked_packages_a_project_that_names_some_is_refused(case: Case):
    """The message says what to set. If the packages are in the repository, nothing needs to be downloaded."""
    fetched = case.fetch(packages="None")
    assert "set spec.project.git.packages to Locked" in fetched.message
    write_package(case.project / "dbt_packages/outils", "outils")
    case.repository.commit("Commit the package")
    assert case.fetch(packages="None").project


def test_a_lock_file_that_is_missing_or_outdated(case: Case):
    """dbt would resolve the packages, and use the newest versions."""
    (case.project / "packages.yml").write_text(f"packages:\n  - git: {case.server.url('outils.git')}\n    revision: other\n")
    case.repository.commit("Name another revision")
    fetched = case.fetch()
    assert "package-lock.yml is missing, or does not match the packages that the project requires" in fetched.message
    assert "dbt deps --lock" in fetched.message
    assert fetched.reason == "InvalidProject", "another attempt finds the same commit, and LastGood would hide it"
    assert "Traceback" not in fetched.message
    (case.project / "package-lock.yml").unlink()
    case.repository.commit("Remove the lock file")
    assert "the project requires packages but has no package-lock.yml" in case.fetch().message


def test_a_template_in_the_lock_file_is_refused(case: Case):
    """dbt renders it after the address has been checked: it could name another server, or send a secret to it."""
    lock = case.project / "package-lock.yml"
    lock.write_text(lock.read_text().replace("outils.git", "outils.git{{ env_var('HOME') }}"))
    case.repository.commit("Add a template")
    assert "package-lock.yml contains a template" in case.fetch().message


def test_a_template_in_an_escape_is_refused(case: Case):
    """YAML has escapes: dbt may see a template that the text of the file does not show."""
    lock = case.project / "package-lock.yml"
    url = case.server.url("outils.git")
    lock.write_text(lock.read_text().replace(url, f"\"{case.server.url('data/x.git')}\\x7b\\x7b env_var('HOME') \\x7d\\x7d\""))
    case.repository.commit("Hide a template")
    assert "package-lock.yml contains a template" in case.fetch().message


@pytest.mark.parametrize("address", ["/data/../outils.git", "/data/%2e%2e/outils.git", "?.example.org/data/outils.git"])
def test_an_address_that_programs_read_differently_is_refused(case: Case, address: str):
    """Its text matches a pattern, but it leads to another folder or another server."""
    lock = case.project / "package-lock.yml"
    lock.write_text(lock.read_text().replace("/outils.git", address))
    case.repository.commit("Write it in another way")
    case.server.requests.clear()
    fetched = case.fetch(allowed="https://localhost:*/data/* https://*.example.org/data/*")
    assert fetched.reason == "InvalidProject"
    assert "is not an address like https://HOST/PATH" in fetched.message
    assert not [request for request in case.server.requests if "outils" in request.path]


def test_a_committed_package_does_not_mix_with_the_downloaded_one(case: Case):
    """`dbt deps` removes existing packages. Files from the warehouse must be identical for the same commit."""
    write_package(case.project / "dbt_packages/outils", "outils")
    (case.project / "dbt_packages/outils/macros/vieux.sql").write_text("{% macro vieux() %}1{% endmacro %}")
    case.repository.commit("Commit an old package")

    def installed() -> list[str]:
        fetched = case.fetch()
        return sorted(path.name for path in (case.runner.fetched / fetched.folder / "dbt_packages").rglob("*.sql"))

    first = installed()
    assert first == ["soixante.sql"]
    assert installed() == first
    assert "the packages are already downloaded" in case.log


def test_the_project_cannot_read_the_token(case: Case):
    """`dbt deps` renders templates in dbt_project.yml, and a token in another spelling is not redacted."""
    token = "tres-secret-jeton-42"
    case.server.bearer_token = token
    settings = case.project / "dbt_project.yml"
    told = "{{ env_var('GIT_CONFIG_VALUE_1', 'nothing') | list | join('-') }}"
    settings.write_text(settings.read_text().replace("name: petit\n", f'name: "{told}"\n'))
    case.repository.commit("Ask for the token")
    fetched = case.fetch()
    assert "n-o-t-h-i-n-g" in case.log + fetched.message
    assert "-".join(token) not in case.log + fetched.message


def test_a_full_disk_is_left_to_another_attempt(case: Case, monkeypatch: pytest.MonkeyPatch):
    """Another node may have space. The run must report this, which it cannot if the init container just fails."""
    assert case.fetch().project

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(preparing, "extract", full)
    fetched = case.fetch()
    assert (fetched.reason, fetched.retryable) == ("ProjectUnavailable", True)
    assert "No space left on device" in fetched.message


def test_a_local_package_of_the_repository(case: Case):
    """Projects in one repository share macros in this way. A package outside of the repository is rejected."""
    write_package(case.repository.tree / "partage", "outils")
    case.name_package("local: ../partage")
    assert case.fetch(allowed="").project, case.log
    assert case.runner.run(case.spec).code == 0
    write_package(case.repository.tree.parent / "ailleurs", "outils")
    case.name_package(f"local: {case.repository.tree.parent / 'ailleurs'}")
    assert "is a link that points outside of it" in case.fetch(allowed="").message


def test_a_server_of_packages_that_is_unreachable_is_tried_again(case: Case):
    """The next attempt tries again."""
    case.server.fault = lambda request: "outils" in request.path and unavailable(request)
    fetched = case.fetch(timeout="20s")
    assert fetched.reason == "ProjectUnavailable"
    assert fetched.retryable
