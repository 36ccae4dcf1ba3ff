"""A project from a source of Flux: read from a real API server with the pod's own permissions, fetched, verified and unpacked.

The source is in the shape of Flux's CRDs, and its artifact on a server of the test: Flux itself does not run.
"""

from __future__ import annotations

import base64
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from refresh_api.run_request import RefreshRef
from refresh_runner.repository import handover
from refresh_runner.repository.handover import Fetched
from support.control_plane import HAS_ADMISSION_POLICY
from support.flux import Artifacts, Source, archive_of, install_crds
from support.operator_harness import POLICY, OperatorHarness
from support.runner_harness import RunnerHarness, write_project

Json = dict[str, Any]
A, B = (f"main@sha1:{digits * 5}" for digits in ("6e27e9a9", "0c11aa22"))
ALLOWED = "GitRepository/*"


@pytest.fixture(scope="module")
def operator(create_operator: Callable[..., OperatorHarness]) -> Iterator[OperatorHarness]:
    """An operator that allows sources, with a refresh whose source is the GitRepository `warehouse`."""
    values = (f"projects.allowedSources={{{ALLOWED}}}", *(POLICY if HAS_ADMISSION_POLICY else ()))
    found = create_operator(*values, PROJECTS_ALLOWED_SOURCES=ALLOWED)
    install_crds(found.api)
    found.start()
    found.create_refresh("petit", project={"sourceRef": {"kind": "GitRepository", "name": "warehouse"}})
    found.wait_until_ready("petit")
    Source(found.api, found.namespace, "warehouse").create()
    yield found
    found.stop()


@dataclass
class Case:
    """The pod of the refresh, and the source of its project."""

    runner: RunnerHarness
    operator: OperatorHarness
    artifacts: Artifacts
    source: Source
    project: Path
    log: str = ""

    def serve(self, revision: str = A, content: bytes | None = None, **changes: str) -> None:
        """Make the project, or this content, the artifact of the source, with changes of its fields."""
        artifact = self.artifacts.artifact(archive_of(self.project) if content is None else content, revision)
        self.source.set_status({**artifact, **changes})

    def fetch(self, run: str = "", name: str = "warehouse", **fields: Any) -> Fetched:
        """Fetch the project as the init container does."""
        fallback = {"fallback": fields.pop("fallback")} if "fallback" in fields else {}
        source = {"kind": "GitRepository", "name": name, "path": "dbt", **fields}
        server = urlsplit(self.operator.api.server)
        variables = {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
        self.log = self.runner.fetch(self.runner.spec(project={"sourceRef": source, **fallback}), run, **variables)
        return handover.read(self.runner.fetched)

    def fails(self, *words: str, reason: str = "InvalidProject", retryable: bool = False, **fields: Any) -> None:
        """Fetch, and check that it fails with this message."""
        fetched = self.fetch(**fields)
        assert (fetched.reason, fetched.retryable) == (reason, retryable), fetched
        for word in words:
            assert word in f"{fetched.message} ({fetched.hint})"


@pytest.fixture
def case(runner: RunnerHarness, operator: OperatorHarness, tmp_path: Path) -> Iterator[Case]:
    """A pod with the token that the operator gives to the runs of this refresh."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(operator.api.token(operator.namespace, "petit-runner"))
    (account / "ca.crt").write_bytes(base64.b64decode(operator.api.authority))
    runner.account = account
    runner.ref = RefreshRef(name="petit", namespace=operator.namespace)
    write_project(tmp_path / "tree" / "dbt")
    with Artifacts() as artifacts:
        source = Source(operator.api, operator.namespace, "warehouse")
        yield Case(runner, operator, artifacts, source, tmp_path / "tree")


def test_an_artifact_is_fetched_and_run(case: Case):
    """The control of the cases below. The status names the source and the revision as Flux does."""
    case.serve()
    fetched = case.fetch()
    assert fetched.project, fetched
    assert (fetched.project.url, fetched.project.path, fetched.project.revision) == ("GitRepository/warehouse", "dbt", A)
    assert (case.runner.fetched / fetched.folder / "dbt_project.yml").is_file()
    spec = case.runner.spec(project={"sourceRef": {"kind": "GitRepository", "name": "warehouse", "path": "dbt"}})
    ran = case.runner.run(spec)
    assert ran.code == 0, ran.output


@pytest.mark.slow
def test_revisions_of_each_kind(case: Case):
    """An OCIRepository names a tag and a digest, a Bucket a digest alone."""
    for revision in (f"latest@sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"):
        case.serve(revision)
        fetched = case.fetch()
        assert fetched.project
        assert fetched.project.revision == revision
    case.serve("6.1.0")
    case.fails("cannot read the revision '6.1.0' of its artifact")


@pytest.mark.slow
def test_a_later_attempt_takes_the_same_artifact_or_none(case: Case):
    """A newer artifact replaces the one of the first attempt. The next run takes it."""
    case.serve(A)
    assert case.fetch(run="petit-101").project
    assert case.fetch(run="petit-101").project
    case.serve(B)
    fetched = case.fetch(run="petit-101")
    assert fetched.reason == "ProjectUnavailable"
    assert f"the artifact {A} of an earlier attempt was replaced by {B}" in fetched.message
    other = case.fetch(run="petit-102")
    assert other.project
    assert other.project.revision == B


def test_the_last_good_artifact_is_used_meanwhile(case: Case):
    """With `fallback: LastGood`, also a later attempt of a run whose artifact is gone."""
    case.serve(A)
    assert case.fetch(run="petit-111", fallback="LastGood").project
    case.serve(B)
    fetched = case.fetch(run="petit-111", fallback="LastGood")
    assert fetched.project, fetched
    assert fetched.project.revision == A
    assert "used main@6e27e9a9, the revision of an earlier attempt" in fetched.warning


def test_content_with_another_digest_is_not_unpacked(case: Case):
    """The artifact comes by plain HTTP: whoever changes it on the way must not choose the code of a run."""
    shutil.rmtree(case.runner.fetched, ignore_errors=True)
    case.serve(digest="sha256:" + "0" * 64)
    case.fails("has the digest sha256:", "but should have sha256:0000", reason="ProjectUnavailable", retryable=True, timeout="2s")
    assert not list((case.runner.fetched / "source").glob("*"))
    case.serve(digest="md5:" + "0" * 32)
    case.fails("the digest of its artifact must be one of sha256")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (member("/etc/cron.d/x"), "/etc/cron.d/x in the artifact is an absolute path"),
        (member("../../x"), "../../x in the artifact leads outside of it"),
        (member("dbt/models/out.sql", tarfile.SYMTYPE, "/etc/passwd"), "dbt/models/out.sql in the artifact leads outside of it"),
        (member("dbt/models/out.sql", tarfile.SYMTYPE, "../../../x"), "dbt/models/out.sql in the artifact leads outside of it"),
        (member("dbt/models/out.sql", tarfile.LNKTYPE, "../../x"), "dbt/models/out.sql in the artifact leads outside of it"),
        (member("dbt/null", tarfile.CHRTYPE), "dbt/null in the artifact leads outside of it, or is no file"),
    ],
)
def test_paths_and_links_that_lead_out(case: Case, odd: tarfile.TarInfo, says: str):
    """A right digest proves who made the archive, not that it is harmless."""
    case.serve(content=archive_of(case.project, odd))
    case.fails(says)


@pytest.mark.slow
def test_an_archive_that_is_none_or_too_large(case: Case, monkeypatch: pytest.MonkeyPatch):
    """A few kilobytes can unpack to gigabytes."""
    case.serve(content=b"<html>")
    case.fails("the artifact is no tar.gz archive")
    case.serve(content=archive_of(case.project)[:-200])
    case.fails("the artifact is no tar.gz archive")
    (case.project / "zeros").write_bytes(b"\0" * 3_000_000)
    case.serve()
    assert case.fetch().project
    monkeypatch.setattr("refresh_runner.repository.flux.LARGEST_FILES", 2_000_000)
    case.fails("has files of more than 2 MB")
    monkeypatch.setattr("refresh_runner.repository.flux.LARGEST", 1000)
    case.fails("its artifact has more than 0 MB")


def test_a_folder_without_a_project(case: Case):
    """The message names the field of the source."""
    case.serve()
    case.fails("has no folder models (spec.project.sourceRef.path)", path="models")


def test_why_there_is_no_artifact(case: Case):
    """Each cause has its own message. What can pass is tried again until the timeout."""
    case.serve()
    unavailable: Json = {"reason": "ProjectUnavailable"}
    case.source.set_status(None, message="failed to checkout: authentication required")
    said = "GitRepository/warehouse has no artifact: failed to checkout: authentication required"
    case.fails(said, **unavailable, retryable=True, timeout="1s")
    case.serve()
    case.artifacts.files.clear()
    case.fails("answered with 404", **unavailable, retryable=True, timeout="1s")
    case.artifacts.redirect = "http://127.0.0.1:1/elsewhere"
    case.fails("answered with 302", **unavailable, retryable=True, timeout="1s")
    case.serve(url="http://127.0.0.1:1/x.tar.gz")
    case.fails("http://127.0.0.1:1/x.tar.gz cannot be fetched", **unavailable, retryable=True, timeout="1s")
    Source(case.operator.api, case.operator.namespace, "warehouse").api.delete(case.operator.namespace, "gitrepositories", "warehouse")
    try:
        case.fails(f"GitRepository/warehouse does not exist in {case.operator.namespace}", **unavailable)
    finally:
        case.source.create()


def test_a_pod_may_read_its_own_source_only(case: Case):
    """Another refresh's source, although it exists and is allowed."""
    Source(case.operator.api, case.operator.namespace, "other").create()
    case.fails(
        "GitRepository/other: the pod is not allowed to read it", "projects.allowedSources", reason="ProjectUnavailable", name="other"
    )


def test_a_new_artifact_starts_one_run(operator: OperatorHarness):
    """The operator reads the source at the interval, with its own permission. No Job checks for it."""
    source = Source(operator.api, operator.namespace, "watched").create()
    project = {"sourceRef": {"kind": "GitRepository", "name": "watched"}, "onProjectChange": "Run", "interval": "10s"}
    operator.create_refresh("watched", project=project)
    operator.wait_for(lambda: "has no artifact" in operator.status("watched").get("projectCheck", {}).get("error", ""), 30, "watched")
    with Artifacts() as artifacts:
        source.set_status(artifacts.artifact(b"x", A))
    run = operator.wait_for_job("watched")
    (job,) = operator.jobs("watched")
    assert job["metadata"]["annotations"]["dashboards.sigeti.io/project"] == A
    operator.end_pod(run)
    assert operator.wait_for_history("watched", run)["trigger"] == "ProjectChange"
    seen = operator.status("watched")["projectCheck"]
    assert (seen["revision"], seen["handledRevision"], "error" in seen) == (A, A, False)
    operator.wait_for(lambda: operator.status("watched")["projectCheck"]["lastCheckTime"] > seen["lastCheckTime"], 30, "watched")
    assert len(operator.jobs("watched")) == 1
