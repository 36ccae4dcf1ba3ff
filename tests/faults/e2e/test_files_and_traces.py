"""Runs in pods write their files to an S3 server and send traces to a collector, both in the cluster: with the image as it is released."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from support import otel_collector, s3_server
from support.eventually import eventually
from support.git_in_cluster import ALLOWED
from support.installation import Installation
from support.server_pod import FOLDER, ServerPod, server_pod

S3, COLLECTOR = "bucket", "collector"
_SPANS = FOLDER / "spans.json"


@pytest.fixture(scope="module")
def bucket(installation: Installation) -> Iterator[ServerPod]:
    """The S3 server with its bucket."""
    made = {f"buckets/{s3_server.BUCKET}/.keep": "", "sidecar/.keep": "", "accounts/users.json": '{"accessAccounts": {}}'}
    arguments = s3_server.arguments(FOLDER, ":7070")
    with server_pod(installation, S3, 7070, s3_server.program(), arguments, made, s3_server.ENVIRONMENT) as server:
        installation.create_secret(S3, s3_server.OWNER)
        yield server
        installation.kubectl("delete", "secret", S3)


@pytest.fixture(scope="module")
def collector(installation: Installation) -> Iterator[ServerPod]:
    """The collector, which the chart names for all refreshes."""
    files = {"config.yaml": otel_collector.config("0.0.0.0:4318", _SPANS)}
    arguments = ["--config", f"file:{FOLDER}/config.yaml"]
    with server_pod(installation, COLLECTOR, 4318, otel_collector.program(), arguments, files) as server:
        installation.install_operator(ALLOWED, f"tracing.endpoint=http://{COLLECTOR}:4318")
        yield server
        installation.install_operator(ALLOWED)


def store(secret: str = S3) -> dict[str, object]:
    """Return `spec.artifacts` for the bucket."""
    s3 = {"endpoint": f"http://{S3}:7070", "region": "us-east-1", "bucket": s3_server.BUCKET, "secretRef": {"name": secret}}
    return {"store": {"s3": s3}}


def test_a_run_writes_its_files_into_the_bucket(installation: Installation, bucket: ServerPod, apply_phase2: Callable[..., str]) -> None:
    """Each file that the guide lists is there, and results are the run's."""
    name = apply_phase2(artifacts=store())
    installation.request_run(name, "files")
    done = installation.wait_for_run(name, "files")
    assert done["outcome"] == "Succeeded", installation.describe(name)
    folder = f"{FOLDER}/buckets/{s3_server.BUCKET}/{installation.kubectl.namespace}/{name}"
    eventually(lambda: "manifest.json" in bucket.output("find", folder, "-type", "f"), within=20)
    paths = bucket.output("find", folder, "-type", "f").split()
    assert {"run.log", "run_results.json", "manifest.json"} <= {path.rpartition("/")[2] for path in paths}, paths
    results = json.loads(bucket.output("cat", next(path for path in paths if path.endswith("run_results.json"))))
    assert any(each["unique_id"].startswith("model.") for each in results["results"])
    assert {each["status"] for each in results["results"]} <= {"success", "pass"}


def test_credentials_that_the_server_does_not_know_are_told_and_fail_nothing(
    installation: Installation, bucket: ServerPod, apply_phase2: Callable[..., str]
) -> None:
    """The control: the server checks signatures, and the bucket has nothing of the run."""
    installation.create_secret("stranger", {**s3_server.OWNER, "secretAccessKey": "wrong"})
    name = apply_phase2(artifacts=store("stranger"))
    installation.request_run(name, "refused")
    assert installation.wait_for_run(name, "refused")["outcome"] == "Succeeded", installation.describe(name)
    log = installation.kubectl("logs", "-l", f"dashboards.sigeti.io/refresh={name}", "--tail=-1")
    assert "SignatureDoesNotMatch" in log, log
    assert name not in bucket.output("find", f"{FOLDER}/buckets", "-type", "d")
    installation.kubectl("delete", "secret", "stranger")


def test_a_run_sends_its_trace_to_the_collector_of_the_chart(
    installation: Installation, collector: ServerPod, apply_phase2: Callable[..., str]
) -> None:
    """One trace with the attempt, its steps and its models."""
    name = apply_phase2()
    assert not [span for span in received(collector) if span.attributes["dashboard_refresh.name"] == name]
    installation.request_run(name, "traced")
    done = installation.wait_for_run(name, "traced")
    assert done["outcome"] == "Succeeded", installation.describe(name)
    eventually(lambda: any(span.name == f"run {name}" for span in received(collector)), within=30)
    spans = [span for span in received(collector) if span.attributes["dashboard_refresh.name"] == name]
    assert len({span.trace for span in spans}) == 1
    (run,) = (span for span in spans if span.name == f"run {name}")
    assert run.attributes["dashboard_refresh.run.outcome"] == "Succeeded"
    assert run.resource["k8s.namespace.name"] == installation.kubectl.namespace
    steps = {span.name for span in spans if span.parent == run.id}
    assert {"step staging", "step facts", "step marts"} <= steps
    assert any(span.name.startswith("model ") for span in spans)


def received(collector: ServerPod) -> list[otel_collector.Span]:
    """Return the spans that the collector has written."""
    return otel_collector.spans(collector.output("sh", "-c", f"cat {_SPANS} 2>/dev/null || true"))
