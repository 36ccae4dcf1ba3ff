"""The files of runs in a bucket: of a real S3 server, and of servers that refuse, are silent or are not there."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from dbt.artifacts.schemas.manifest import WritableManifest
from dbt.artifacts.schemas.run import RunResultsArtifact

from refresh_api.status import Outcome
from refresh_runner.cli.parse import cache_docs
from refresh_runner.model.plan import DbtSettings
from support.runner_harness import RunnerHarness, RunResult
from support.s3_server import BUCKET, OWNER, STRANGER, S3Server
from support.webserver import WebServer

Json = dict[str, Any]
FILES = {"manifest.json", "run.log", "run_results.json"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server; the first one on a machine is built, which takes minutes."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A server that is no S3 server."""
    with WebServer() as server:
        yield server


def spec_of(runner: RunnerHarness, endpoint: str, *, changes: Json | None = None, **bucket: object) -> Json:
    """Return a spec whose files go to a bucket; the Secret has the owner's credentials unless a test has set others."""
    runner.secrets.setdefault("bucket", OWNER)
    found = {"endpoint": endpoint, "bucket": BUCKET, "secretRef": {"name": "bucket"}, **bucket}
    return runner.spec(cache=None, artifacts={"store": {"s3": found}}, **(changes or {}))


def outcome(ran: RunResult) -> Outcome | None:
    return ran.termination_message.outcome if ran.termination_message else None


def of_run(store: S3Server, folder: str) -> dict[str, bytes]:
    """The objects in one folder, by the names of the files."""
    return {name.removeprefix(f"{folder}/"): content for name, content in store.objects().items() if name.startswith(f"{folder}/")}


def in_warehouse(runner: RunnerHarness, run: str) -> dict[str, bytes]:
    """The files of a run in the warehouse."""
    query = f"select name, content from dbt_refresh_artifact where run_id = '{run}'"
    return {str(name): gzip.decompress(content) for name, content in runner.database.rows(query) if isinstance(content, bytes)}


built = pytest.mark.timeout(1200)
"""Of tests that may have to build the server."""


@built
@pytest.mark.slow
def test_the_files_in_the_bucket_are_those_in_the_warehouse(runner: RunnerHarness, store: S3Server) -> None:
    """Byte for byte; beside them the manifest and the documentation. dbt itself reads its two files."""
    assert cache_docs(runner.project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None) == 0
    try:
        ran = runner.run(spec_of(runner, store.url, prefix="equipe/prod"), RUN_ID="petit-plein")
    finally:
        pages = list((runner.project / "target").glob("refresh_docs_*"))
        for page in pages:
            page.unlink()
    assert outcome(ran) is Outcome.SUCCEEDED, ran.output
    assert "artifacts: 4 files written to fichiers/equipe/prod/essai/petit/petit-plein" in ran.messages, ran.messages
    kept, known = of_run(store, "equipe/prod/essai/petit/petit-plein"), in_warehouse(runner, "petit-plein")
    assert kept.keys() == {*FILES, "docs.html"}
    assert known.keys() == {"run.log", "run_results.json"}
    assert {name: kept[name] for name in known} == known
    ((docs,),) = runner.database.rows("select content from dbt_refresh_docs")
    assert isinstance(docs, bytes)
    assert kept["docs.html"] == gzip.decompress(docs)

    results = RunResultsArtifact.from_dict(json.loads(kept["run_results.json"]))
    manifest = WritableManifest.from_dict(json.loads(kept["manifest.json"]))
    assert {each.unique_id for each in results.results} <= manifest.nodes.keys()
    mart = manifest.nodes["model.petit.mart_a"]
    assert (mart.schema, mart.alias) == ("dwh_marts", "mart_a")
    assert json.loads(kept["manifest.json"])["parent_map"]["model.petit.mart_a"] == ["model.petit.fait_lignes"]


@built
@pytest.mark.slow
def test_a_run_that_fails_leaves_its_files_too(runner: RunnerHarness, store: S3Server) -> None:
    """They show the error. An attempt that starts later replaces them, as in the warehouse."""
    runner.database.run("alter table src.lignes rename column mois to month")
    spec = spec_of(runner, store.url, changes={"retries": 0})
    ran = runner.run(spec, RUN_ID="petit-rate")
    assert outcome(ran) is Outcome.FAILED
    kept = of_run(store, "essai/petit/petit-rate")
    assert kept.keys() == FILES
    assert b"Failed (LayerFailed)" in kept["run.log"].splitlines()[-1]
    statuses = {each["unique_id"]: each["status"] for each in json.loads(kept["run_results.json"])["results"]}
    assert statuses["model.petit.stg_lignes"] == "error"
    assert kept["run_results.json"] == in_warehouse(runner, "petit-rate")["run_results.json"]

    runner.database.run("alter table src.lignes rename column month to mois")
    runner.run(spec, RUN_ID="petit-rate")
    assert b"Succeeded: 5 models built" in of_run(store, "essai/petit/petit-rate")["run.log"].splitlines()[-1]


@built
@pytest.mark.slow
def test_a_run_without_a_warehouse_leaves_its_log(runner: RunnerHarness, store: S3Server) -> None:
    """Neither a Secret that lacks a key nor a server that cannot be reached keeps people from the log. The last attempt has one."""
    whole = runner.database.secret
    runner.secrets["warehouse"] = {key: value for key, value in whole.items() if key != "host"}
    spec = spec_of(runner, store.url, changes={"retries": 0})
    assert outcome(runner.run(spec, RUN_ID="petit-sans")) is Outcome.FAILED
    kept = of_run(store, "essai/petit/petit-sans")
    assert kept.keys() == {"run.log"}
    assert b"WarehouseUnreachable" in kept["run.log"]
    runner.secrets["warehouse"] = {**whole, "port": "1"}
    assert outcome(runner.run(spec, RUN_ID="petit-loin")) is Outcome.FAILED
    assert b"WarehouseUnreachable" in of_run(store, "essai/petit/petit-loin")["run.log"]


@built
@pytest.mark.slow
@pytest.mark.parametrize(
    ("secret", "bucket", "words"),
    [
        ({**OWNER, "secretAccessKey": "un-autre-secret-44"}, {}, "403 (SignatureDoesNotMatch: the secret access key is wrong)"),
        ({**OWNER, "accessKeyId": "INCONNU000000001"}, {}, "403 (InvalidAccessKeyId: the access key is unknown)"),
        (STRANGER, {}, "403 (AccessDenied: the credentials lack the permission s3:PutObject)"),
        (OWNER, {"bucket": "nulle-part"}, "404 (NoSuchBucket: the bucket does not exist)"),
        (OWNER, {"region": "eu-west-3"}, "400 (AuthorizationHeaderMalformed: the bucket is in another region"),
    ],
)
def test_what_the_server_refuses_is_said_in_words(
    runner: RunnerHarness, store: S3Server, secret: dict[str, str], bucket: Json, words: str
) -> None:
    """The run has succeeded, nothing was written, and no secret is in the log or the status."""
    runner.secrets["bucket"] = secret
    before = store.objects()
    ran = runner.run(spec_of(runner, store.url, **bucket))
    assert outcome(ran) is Outcome.SUCCEEDED
    assert f"artifacts: run.log is not written: the server answered {words}" in ran.messages, ran.messages
    assert store.objects() == before
    told = ran.output + str(ran.termination_message) + str(runner.database.rows("select * from dbt_refresh_step"))
    assert not [value for value in secret.values() if value in told]


@built
@pytest.mark.slow
def test_a_secret_in_a_file_is_masked(runner: RunnerHarness, store: S3Server) -> None:
    """As in the warehouse: a description of the project quotes the password, and the files go where more people read."""
    properties = runner.project / "models" / "properties.yml"
    before, password = properties.read_text(), runner.secrets["warehouse"]["password"]
    text = json.dumps(f"Read with {password} and {OWNER['secretAccessKey']} please")
    properties.write_text(before.replace("{name: zone}, {name: mois}", f"{{name: zone, description: {text}}}, {{name: mois}}", 1))
    try:
        ran = runner.run(spec_of(runner, store.url), RUN_ID="petit-masque")
    finally:
        properties.write_text(before)
    assert outcome(ran) is Outcome.SUCCEEDED, ran.output
    kept = of_run(store, "essai/petit/petit-masque")
    described = json.loads(kept["manifest.json"])["nodes"]["model.petit.mart_a"]["columns"]["zone"]["description"]
    assert described == "Read with *** and *** please"
    whole = b"".join(kept.values()).decode()
    assert not [value for value in (password, *OWNER.values()) if value in whole]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://127.0.0.1:1", "the server cannot be reached: "),
        ("http://169.254.169.254", "the server cannot be reached: its address is refused"),
        ("http://nowhere.invalid", "the server cannot be reached: its name cannot be resolved"),
    ],
)
def test_a_server_that_cannot_be_reached_changes_nothing(runner: RunnerHarness, endpoint: str, words: str) -> None:
    """Nor is a metadata service called, which hands out credentials of the machine."""
    ran = runner.run(spec_of(runner, endpoint))
    assert outcome(ran) is Outcome.SUCCEEDED
    assert f"artifacts: run.log is not written: {words}" in ran.messages
    assert "0 files were written before" in ran.messages


@pytest.mark.slow
def test_a_redirect_is_not_followed(runner: RunnerHarness, server: WebServer) -> None:
    """Its target is not checked. The credentials are never sent, only signatures made with them."""
    path = f"/{BUCKET}/essai/petit/petit-{runner.run_count + 1}/run.log"
    server.statuses[path], server.headers["Location"] = 307, "http://127.0.0.1:1/"
    ran = runner.run(spec_of(runner, server.url))
    assert outcome(ran) is Outcome.SUCCEEDED
    assert "artifacts: run.log is not written: the server answered 307; 0 files were written before" in ran.messages
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("PUT", path)
    assert OWNER["secretAccessKey"] not in str(asked)
    assert OWNER["accessKeyId"] in asked.headers["Authorization"]


@pytest.mark.slow
def test_a_silent_server_delays_the_pod_by_no_more_than_the_timeout(
    runner: RunnerHarness, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the warehouse is free, and the run's result is reported."""
    monkeypatch.setattr("refresh_runner.object_store.upload.TIMEOUT", 2.0)
    held: list[object] = []
    server.on_request = lambda: held.extend(runner.held())
    server.slow.add(f"/{BUCKET}/essai/petit/petit-muet/run.log")
    begun = time.monotonic()
    ran = runner.run(spec_of(runner, server.url), RUN_ID="petit-muet")
    took = time.monotonic() - begun
    assert outcome(ran) is Outcome.SUCCEEDED
    assert "artifacts: run.log is not written: no answer in time; 0 files were written before" in ran.messages
    assert (len(server.asked), held) == (1, [])
    server.asked.clear()
    begun = time.monotonic()
    runner.run(spec_of(runner, server.url))
    assert took < time.monotonic() - begun + 4
    assert len(server.asked) == len(FILES)


def test_a_run_that_is_skipped_writes_nothing(runner: RunnerHarness, server: WebServer) -> None:
    """Nothing ran, and there is no entry in the run log either."""
    ran = runner.run(spec_of(runner, server.url, changes={"dependsOn": [{"name": "autre"}]}), RUN_ID="petit-29000001")
    assert outcome(ran) is Outcome.SKIPPED, ran.messages
    assert server.asked == []


@pytest.mark.slow
def test_without_a_store_nothing_of_it_is_loaded(runner: RunnerHarness) -> None:
    """A run that keeps its files in the warehouse pays nothing for the library. Control: with a store, it is loaded."""
    start = "import sys; from refresh_runner.__main__ import main; main(sys.argv[1:])"
    probe = f"{start}; print('loaded:', 'awscrt' in sys.modules)"
    with_store = spec_of(runner, "http://127.0.0.1:1")
    for spec, loaded in ((runner.spec(cache=None), False), (with_store, True)):
        words = ["run", "--project", str(runner.project), "--secrets", str(runner._mounted()), "--termination-log", str(runner._words())]
        done = subprocess.run(
            [sys.executable, "-c", probe, *words],
            env=runner.pod_environment(spec),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert f"loaded: {loaded}" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
