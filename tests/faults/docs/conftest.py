"""A cluster on which the guide's installation page was followed, and a reader's shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from cluster.embedded.binaries import link_tools
from support.guide import ROOT, Block, all_blocks
from support.operator_harness import Json, OperatorHarness

NAMESPACE = "dashboards"
OPERATOR = "dashboard-refresh"
FOLDERS = ("crds", "deploy", "examples")


@dataclass(frozen=True)
class Shell:
    """A reader's shell in a folder like a checkout."""

    home: Path
    environment: dict[str, str]
    typed: set[str] = field(default_factory=set)

    def attempt(self, *commands: str) -> subprocess.CompletedProcess[str]:
        """Run commands in one shell, one after the other; return the completed process."""
        words = ["bash", "-euo", "pipefail", "-c", "\n".join(commands)]
        return subprocess.run(words, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def run(self, block: Block) -> None:
        """Run a block's commands; AssertionError with their output on failure. Commands of earlier pages are not repeated."""
        commands = [command for command in block.commands if command not in self.typed]
        self.typed.update(commands)
        done = self.attempt(*commands)
        assert done.returncode == 0, f"{block}\n{block.text}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell with our programs in PATH, in a folder with a checkout's files and those that the guide has readers write."""
    home = tmp_path_factory.mktemp("reader")
    for folder in FOLDERS:
        (home / folder).symlink_to(ROOT / folder)
    for block in all_blocks("yaml"):
        if block.file:
            (home / block.file).write_text(block.text)
    path = f"{home / 'tools'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return Shell(home, {"PATH": path, "HOME": str(home), "PASSWORD": "p%40:/'\"$", "WEBHOOK": "http://127.0.0.1:9/hook"})


@pytest.fixture(scope="module")
def installed(shell: Shell, contract, control_plane, api, helm: Path) -> Iterator[Shell]:
    """The steps of the installation page are done. The operator has its chart's permissions, and pods succeed at once."""
    link_tools(shell.home / "tools", control_plane.kube)
    (shell.home / "tools" / "helm").symlink_to(helm)
    config = json.loads(control_plane.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = NAMESPACE
    (shell.home / "kubeconfig").write_text(json.dumps(config))
    shell.environment["KUBECONFIG"] = str(shell.home / "kubeconfig")
    operator = OperatorHarness(api, contract.within(NAMESPACE), helm, shell.home, {"LEASE_NAME": OPERATOR})
    chart, secret, *rest = [block for block in all_blocks("console", "cluster") if block.page == "install"]
    shell.run(chart)
    config["users"][0]["user"] = {"token": operator.kubectl("create", "token", OPERATOR, "--duration=1h").strip()}
    (shell.home / f"{NAMESPACE}.kubeconfig").write_text(json.dumps(config))
    operator.start()
    try:
        with pods_that_succeed(operator):
            for block in (secret, *rest):
                shell.run(block)
            yield shell
    finally:
        operator.stop()


@contextmanager
def pods_that_succeed(operator: OperatorHarness) -> Iterator[None]:
    """Play kubelet and runner: every run of the namespace succeeds as soon as it has a pod."""
    over, ended = threading.Event(), set[str]()

    def play() -> None:
        while not over.wait(0.2):
            # other tests of the session sometimes stop the API server
            with suppress(httpx.TransportError):
                for job in operator.api.items(operator.namespace, "jobs"):
                    end(job)

    def end(job: Json) -> None:
        name, labels = job["metadata"]["name"], job["metadata"]["labels"]
        pods = operator.api.items(operator.namespace, "pods", f"batch.kubernetes.io/job-name={name}")
        if pods and name not in ended:
            ended.add(name)
            with suppress(AssertionError):  # somebody has cancelled the run
                operator.report_run(labels["dashboards.sigeti.io/refresh"], name)
                operator.end_pod(name)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)
