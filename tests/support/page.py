"""The page as a process with the token of its own ServiceAccount, as its chart starts it."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.ports import free_port
from support.apiserver import ApiServer
from support.eventually import eventually
from support.kubectl import Kubectl
from support.previews import PREVIEWS, preview_body
from support.processes import with_this_process
from support.snapshots import ROOT

Json = dict[str, Any]
ACCOUNT = "op-dashboard-refresh-page"


@dataclass(frozen=True)
class PageProcess:
    """One running page."""

    url: str
    log: Path
    pid: int = 0

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Return the response of a path; names of headers are written with `_` for `-`."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(self.url + path, headers=wanted, trust_env=False, timeout=20)

    def json(self, path: str) -> Any:
        """Return the JSON response of a path."""
        return self.get(path, accept="application/json").json()


def grant_page_permissions(kubectl: Kubectl, api: ApiServer, helm: Path, folder: Path) -> Path:
    """Grant the page's permissions by its chart; return the folder with its token and the cluster's certificate."""
    values = ["--set", "page.enabled=true"]
    command = [str(helm), "template", "op", str(ROOT / "deploy/helm"), "-n", kubectl.namespace, "-s", "templates/page.yaml", *values]
    kubectl.apply(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text(kubectl("create", "token", ACCOUNT, "--duration=1h"))
    (folder / "ca.crt").write_bytes(base64.b64decode(api.authority))
    return folder


def mount_secret(folder: Path, **keys: str) -> Path:
    """Write a Secret as it is mounted; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in keys.items():
        (folder / name).write_text(value)
    return folder


@contextmanager
def run_page(server: str, namespace: str, account: Path, home: Path, settings: Mapping[str, str] | None = None) -> Iterator[PageProcess]:
    """Run a page that watches one namespace, ready, while the block runs."""
    port = free_port()
    log = home / f"page-{port}.log"
    environment = {
        "PATH": os.environ["PATH"],
        "API_SERVER": server,
        "WATCH_NAMESPACES": namespace,
        "SERVICE_ACCOUNT_PATH": str(account),
        "PORT": str(port),
        **(settings or {}),
    }
    with log.open("wb") as output:
        command = with_this_process(sys.executable, "-m", "refresh_page")
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    page = PageProcess(f"http://127.0.0.1:{port}", log, process.pid)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return page.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(ready, within=30, context=log.read_text)
        yield page
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)


def write_refresh(api: ApiServer, item: Json) -> None:
    """Create or update a refresh with its status, as operator and runner would write it."""
    metadata = {key: item["metadata"][key] for key in ("name", "namespace")}
    namespace, name = metadata["namespace"], metadata["name"]
    if api.get(namespace, "dashboardrefreshes", name) is None:
        labels = item["metadata"].get("labels", {})
        api.create(namespace, "dashboardrefreshes", {**item, "metadata": {**metadata, "labels": labels}, "status": {}})
    head = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}
    share = {key: value for key, value in item["status"].items() if key != "run"}
    api.apply_status(namespace, name, {**head, "status": share}, "refresh-operator")
    if "run" in item["status"]:
        api.apply_status(namespace, name, {**head, "status": {"run": item["status"]["run"]}}, "refresh-runner")


def write_preview(api: ApiServer, namespace: str, name: str, refresh: str, status: Json) -> None:
    """Create a preview of the branch fix with its status, as a user and a runner would write it."""
    body = preview_body(name, refresh)
    api.create(namespace, PREVIEWS, body)
    body["metadata"]["namespace"] = namespace
    api.apply_status(namespace, name, {**body, "status": status}, "refresh-runner", PREVIEWS)
