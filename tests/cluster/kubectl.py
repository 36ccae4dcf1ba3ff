"""Which `kubectl` is used with a cluster: the machine's, if Kubernetes supports it with that API server, else the built one."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.embedded.binaries import KUBE, KUBERNETES, build, link_kubectl
from cluster.paths import Paths

Version = tuple[int, int]
_LIMIT = 30.0  # seconds


def own_program(name: str, tools: Path) -> Path | None:
    """Return the machine's program of that name. The demo has users put `tools` on their PATH, whose links would lead to themselves."""
    folders = [each for each in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(each) != tools]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def link_suitable_kubectl(paths: Paths, kubeconfig: Path) -> None:
    """Link the `kubectl` to use with this cluster into the tools' folder, and report one that Kubernetes does not support."""
    own = own_program("kubectl", paths.tools)
    client, server = versions(_version_text([str(own)], kubeconfig)) if own else (None, None)
    if own and client and server and within_skew(client, server):
        link_kubectl(paths.tools, own)
        return
    built = build(KUBE, paths.cache)
    link_kubectl(paths.tools, built)
    _, server = versions(_version_text([str(built), "kubectl"], kubeconfig))
    major, minor, _ = KUBERNETES.split(".")
    if server and not within_skew((int(major), int(minor)), server):
        print(
            f"cluster: kubectl {major}.{minor} is used with Kubernetes {server[0]}.{server[1]}, more than one minor version apart;"
            f" install kubectl {server[0]}.{server[1]}",
            flush=True,
        )


def within_skew(client: Version, server: Version) -> bool:
    """Return whether Kubernetes supports this kubectl: one minor version older or newer than the API server."""
    return client[0] == server[0] and abs(client[1] - server[1]) <= 1


def versions(text: str) -> tuple[Version | None, Version | None]:
    """Return the versions of kubectl and of the API server in the output of `kubectl version --output=json`."""
    try:
        answer = json.loads(text)
    except ValueError:
        return None, None
    return _version(answer.get("clientVersion")), _version(answer.get("serverVersion"))


def _version(info: object) -> Version | None:
    if not isinstance(info, dict):
        return None
    # providers write a minor version such as 33+
    major, minor = (str(info.get(part, "")).rstrip("+") for part in ("major", "minor"))
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def _version_text(kubectl: Sequence[str], kubeconfig: Path) -> str:
    command = [*kubectl, f"--kubeconfig={kubeconfig}", "--request-timeout=5s", "version", "--output=json"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
