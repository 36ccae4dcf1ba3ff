"""A server of the tests in a pod: its program, built on this machine, is copied into a container of the examples' image."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from support.installation import Installation

FOLDER: Final = PurePosixPath("/server")
"""Where the server may write."""
_PROGRAM: Final = FOLDER / "program"
_COPY_LIMIT: Final = 120.0
"""Seconds to copy a program."""


@dataclass(frozen=True)
class ServerPod:
    """A running server, which a Service of the same name leads to."""

    installation: Installation
    name: str

    def output(self, *command: str) -> str:
        """Return what a command prints in the pod."""
        return self.installation.kubectl("exec", self.name, "--", *command)


@contextmanager
def server_pod(
    installation: Installation,
    name: str,
    port: int,
    program: Path,
    arguments: Sequence[str],
    files: Mapping[str, str],
    env: Mapping[str, str] | None = None,
) -> Iterator[ServerPod]:
    """Start a server that listens on a port; `files` are written into FOLDER before, by their path in it."""
    kubectl = installation.kubectl
    start = f"until [ -e {FOLDER}/start ]; do sleep 0.1; done; exec {shlex.join([str(_PROGRAM), *arguments])}"
    container = {
        "name": name,
        "image": installation.images["refresh-examples"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", start],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "server", "mountPath": str(FOLDER)}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "server", "emptyDir": {}}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {"name": name, "labels": {"app": name}}
    service = {"selector": metadata["labels"], "ports": [{"port": port}]}
    for kind, body in (("Pod", spec), ("Service", service)):
        kubectl.apply(json.dumps({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": body}))
    try:
        kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Running", "--timeout=60s", timeout=90)
        _copy(installation, name, program)
        for path, text in files.items():
            write = f"mkdir -p $(dirname {FOLDER}/{path}) && cat > {FOLDER}/{path}"
            kubectl("exec", "-i", name, "--", "sh", "-c", write, stdin=text)
        kubectl("exec", name, "--", "touch", f"{FOLDER}/start")
        kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s", timeout=90)
        yield ServerPod(installation, name)
    finally:
        kubectl.attempt("delete", f"pod/{name}", f"service/{name}", "--wait=true")


def _copy(installation: Installation, pod: str, program: Path) -> None:
    with program.open("rb") as content:
        command = installation.kubectl.command("exec", "-i", pod, "--", "sh", "-c", f"cat > {_PROGRAM} && chmod +x {_PROGRAM}")
        subprocess.run(command, stdin=content, check=True, capture_output=True, timeout=_COPY_LIMIT)
