"""The page with 1,000 refreshes on a real API server: time to ready, response times, latency of changes, memory."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from bench.verdicts import Goal, judge
from cluster.embedded.binaries import HELM_PROGRAM, KUBE, build, link_tools
from cluster.embedded.control_plane import ControlPlane
from cluster.paths import paths_of
from support.apiserver import ApiServer
from support.eventually import eventually
from support.kubectl import Kubectl
from support.page import PageProcess, grant_page_permissions, run_page, write_refresh
from support.page_refreshes import Json, build_history, build_refresh
from support.snapshots import ROOT

NAMESPACE = "page-bench"
GOALS = (
    Goal("ready", "ready_seconds", "max", "s", at_most=10),
    Goal("overview", "overview_seconds", "p99", "s", at_most=0.5),
    Goal("overview_json", "json_seconds", "p99", "s", at_most=0.5),
    Goal("overview_grouped", "grouped_seconds", "p99", "s", at_most=0.5),
    Goal("overview_found", "found_seconds", "p99", "s", at_most=0.5),
    Goal("a_refresh", "refresh_seconds", "p99", "s", at_most=0.2),
    Goal("change_to_page", "change_seconds", "p99", "s", at_most=1),
    Goal("memory", "memory_mb", "max", "MB", at_most=200),
)


def taken(page: PageProcess, path: str, accept: str, times: int) -> list[float]:
    """Return the seconds of each of these requests."""
    found = []
    with httpx.Client(base_url=page.url, trust_env=False, headers={"Accept": accept}, timeout=30) as client:
        for _ in range(times):
            started = time.monotonic()
            assert client.get(path).status_code == 200
            found.append(time.monotonic() - started)
    return found


def change(page: PageProcess, api: ApiServer, body: Json, token: str) -> float:
    """Return the seconds from the response to a write until the page shows it."""
    name = body["metadata"]["name"]
    api.patch(NAMESPACE, "dashboardrefreshes", name, {"spec": {"displayName": token}})
    started = time.monotonic()
    eventually(lambda: page.json(f"/refreshes/{NAMESPACE}/{name}")["refresh"]["title"] == token, within=10, every=0.005)
    return time.monotonic() - started


def measure(page: PageProcess, api: ApiServer, bodies: list[Json], pid: int, ready: float) -> dict[str, list[float]]:
    """Return all samples."""
    path = f"/refreshes/{NAMESPACE}/{bodies[7]['metadata']['name']}"
    found = {
        "ready_seconds": [ready],
        "overview_seconds": taken(page, "/", "text/html", 100),
        "json_seconds": taken(page, "/", "application/json", 100),
        "grouped_seconds": [
            each for by in ("project", "namespace", "label:team") for each in taken(page, f"/?group={by}", "text/html", 40)
        ],
        "found_seconds": taken(page, "/?q=refresh-01&state=attention&group=label:team", "text/html", 100),
        "refresh_seconds": taken(page, path, "text/html", 100),
        "change_seconds": [change(page, api, bodies[number], f"t{number}") for number in range(50)],
    }
    return {**found, "memory_mb": [psutil.Process(pid).memory_info().rss / 1e6]}


def main() -> int:
    """Print the verdicts; exit code 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args().count
    paths = paths_of(os.environ)
    kube = build(KUBE, paths.cache)
    plane = ControlPlane(paths.clusters / f"page-bench-{os.getpid()}", kube)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        plane.up(owner=os.getpid())
        try:
            link_tools(home / "tools", kube)
            kubectl = Kubectl(plane.kubeconfig, NAMESPACE, str(home / "tools" / "kubectl"))
            api = ApiServer(plane.kubeconfig, home)
            kubectl("apply", "-f", str(ROOT / "crds"))
            eventually(lambda: kubectl.attempt("get", "dr").returncode == 0, within=60)
            api.create("", "namespaces", {"metadata": {"name": NAMESPACE}})
            account = grant_page_permissions(kubectl, api, build(HELM_PROGRAM, paths.cache), home / "account")
            now = datetime.now(UTC).replace(microsecond=0)
            first = json.dumps(build_refresh("NAME", now, build_history("NAME", now, "SSSSWSSSSS")))
            bodies: list[Json] = [json.loads(first.replace("NAME", f"refresh-{number:04d}")) for number in range(count)]
            for number, body in enumerate(bodies):
                body["metadata"] |= {"namespace": NAMESPACE, "labels": {"team": f"team-{number % 40}"}}
                body["spec"]["project"] = {"git": {"url": f"https://git.example.org/project-{number % 20}.git"}}
            print(f"making {count} refreshes, each with ten runs", flush=True)
            with ThreadPoolExecutor(4) as hands:
                list(hands.map(lambda body: write_refresh(api, body), bodies))
            started = time.monotonic()
            with run_page(api.server, NAMESPACE, account, home) as page:
                ready = time.monotonic() - started
                assert page.json("/")["counts"]["total"] == count
                (pid,) = (child.pid for child in psutil.Process().children() if "refresh_page" in " ".join(child.cmdline()))
                verdicts = list(judge(measure(page, api, bodies, pid, ready), GOALS))
        finally:
            plane.down()
    print(*verdicts, sep="\n")
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
