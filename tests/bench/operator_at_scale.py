"""Measures the operator with many refreshes on a real API server in one run; samples are stored and judged by `bench.verdicts`.

    python -m bench.operator_at_scale [--count 1000] [--edits 200] [--runs 100] [--jobs 3000] [--rest 300]

Control plane, operator and this program share the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.verdicts import Samples
from bench.verdicts import main as judge
from cluster.embedded.binaries import HELM_PROGRAM, KUBE, KUBERNETES, build, link_tools
from cluster.embedded.control_plane import ControlPlane
from cluster.paths import Paths, paths_of
from cluster.ports import free_port
from support.apiserver import ApiServer, Json
from support.eventually import eventually
from support.kubectl import Kubectl
from support.operator_harness import REFRESHES, OperatorHarness
from support.snapshots import ROOT

KEPT = {"cronjobs": "{}", "serviceaccounts": "{}-runner", "roles": "{}-runner", "rolebindings": "{}-runner"}
WRITTEN = ("dashboardrefreshes", "cronjobs", "jobs", "serviceaccounts", "roles", "rolebindings", "events")
RESULTS = ROOT / "tests" / "bench" / "results"
FLOOR = "floor"
"""The namespace of objects created by a plain loop."""
POLL = 0.01
"""Poll interval in seconds, the resolution of latencies."""


class Bench:
    """An operator with many refreshes, and the measurements."""

    def __init__(self, operator: OperatorHarness, samples: Samples, count: int) -> None:
        self.operator = operator
        self.samples = samples
        self.names = [f"refresh-{number:04}" for number in range(count)]
        self.random = random.Random(1)

    @property
    def process(self) -> psutil.Process:
        """Return the operator's process."""
        return psutil.Process(self.operator.pid)

    def create_all(self) -> None:
        """Create all refreshes at once and wait until each is Ready; then check that all their objects exist."""
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.operator.create_refresh, self.names))
        created = time.monotonic() - started
        # one by one first: repeated lists of all would take the API server more time than the operator does
        for name in self.random.sample(self.names, min(50, len(self.names))) + self.names[-10:]:
            eventually(partial(self._is_scheduled, name), within=900, every=0.2)
        eventually(lambda: self.ready() == len(self.names), within=300, every=1, context=lambda: self.operator.describe(""))
        self.samples.add("created_seconds", time.monotonic() - started)
        self.samples.notes.append(f"the creation of {len(self.names)} refreshes by this program alone took {created:.1f} s of it")
        for plural, pattern in KEPT.items():
            there = {item["metadata"]["name"] for item in self.operator.api.items(self.operator.namespace, plural)}
            assert {pattern.format(name) for name in self.names} <= there, plural
        self.samples.add("memory_mb", self.process.memory_info().rss / 1e6)

    def _is_scheduled(self, name: str) -> bool:
        return bool(self.operator.status(name).get("phase") == "Scheduled")

    def floor(self) -> None:
        """Create the same objects by a plain loop in an unwatched namespace: the time of the API server itself."""
        api, there = self.operator.api, self.operator.namespace
        api.create("", "namespaces", {"metadata": {"name": FLOOR}})
        kinds = [REFRESHES, *KEPT]
        found = {plural: {item["metadata"]["name"]: item for item in api.items(there, plural)} for plural in kinds}

        def make(name: str) -> None:
            for plural in kinds:
                api.create(FLOOR, plural, _copy(found[plural][KEPT.get(plural, "{}").format(name)]))
            seen = found[REFRESHES][name]
            body = {"apiVersion": seen["apiVersion"], "kind": seen["kind"], "metadata": {"name": name}, "status": seen["status"]}
            api.apply_status(FLOOR, name, body, "floor")

        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(make, self.names))
        self.samples.add("floor_seconds", time.monotonic() - started)

    def ready(self) -> int:
        """Return the number of refreshes that are Ready, by the printed column, which is cheaper than the objects."""
        return self.operator.api.column(self.operator.namespace, REFRESHES, "Phase").count("Scheduled")

    def writes(self) -> float:
        """Return the API server's count of writes to the resources that the operator writes."""
        total = 0.0
        for line in self.operator.api.text("/metrics").splitlines():
            if line.startswith("apiserver_request_total{"):
                labels, _, value = line.rpartition(" ")
                if 'verb="GET"' not in labels and any(f'resource="{each}"' in labels for each in WRITTEN):
                    total += float(value) * any(f'verb="{verb}"' in labels for verb in ("POST", "PUT", "PATCH", "APPLY", "DELETE"))
        return total

    def settle(self) -> None:
        """Wait until no more writes occur."""

        def still() -> bool:
            before = self.writes()
            time.sleep(3)
            return before == self.writes()

        eventually(still, within=240)

    def rest(self, seconds: float) -> None:
        """Measure writes and CPU time of the idle operator."""
        self.settle()
        writes, cpu, started = self.writes(), sum(self.process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        self.samples.add("rest_writes", self.writes() - writes)
        used = sum(self.process.cpu_times()[:2]) - cpu
        self.samples.add("rest_cpu_percent", 100 * used / (time.monotonic() - started))

    def edit(self, count: int, name: str = "edit_seconds") -> None:
        """Measure from the response to an edit until the CronJob matches it."""
        for number in range(count):
            refresh = self.random.choice(self.names)
            schedule = f"{number % 60} {number // 60} 1 1 *"
            self.operator.patch_spec(refresh, schedule=schedule)
            self.samples.add(name, self._seconds_until(partial(self._scheduled, refresh, schedule)))

    def finish(self, count: int, name: str = "finish_seconds") -> None:
        """Measure from the Job's end, as the Job controller writes it, until the status contains it."""
        with ThreadPoolExecutor(5) as pool:
            self.samples.add(name, *pool.map(self._finish, self.random.sample(self.names, count)))

    def _finish(self, refresh: str) -> float:
        self.operator.request_run(refresh, f"t{time.monotonic_ns()}")
        job = self.operator.wait_for_job(refresh, within=60)
        self.operator.end_pod(job)
        eventually(lambda: self._ended(job), within=60, every=POLL)
        return self._seconds_until(lambda: any(run["id"] == job for run in self.operator.status(refresh).get("history", [])))

    def _ended(self, job: str) -> bool:
        found = self.operator.api.get(self.operator.namespace, "jobs", job) or {}
        return any(each["type"] == "Complete" and each["status"] == "True" for each in found.get("status", {}).get("conditions", []))

    def _scheduled(self, refresh: str, schedule: str) -> bool:
        return bool((self.operator.cronjob(refresh) or {})["spec"]["schedule"] == schedule)

    @staticmethod
    def _seconds_until(check: Callable[[], bool]) -> float:
        started = time.monotonic()
        eventually(check, within=60, every=POLL)
        return time.monotonic() - started

    def restart(self, ready_url: str) -> None:
        """Restart the operator; measure until it is ready, and its writes."""
        self.operator.stop()
        self.settle()
        writes = self.writes()
        started = time.monotonic()
        self.operator.start()
        eventually(lambda: self.operator.responds(ready_url), within=120, every=0.05, context=lambda: self.operator.describe(""))
        self.samples.add("restart_seconds", time.monotonic() - started)
        # by then everything that a restart could trigger has been reconciled
        time.sleep(10)
        self.samples.add("restart_writes", self.writes() - writes)
        # a start with many refreshes lists them all
        self.samples.add("memory_mb", self.process.memory_info().rss / 1e6)

    def jobs_come_and_go(self, count: int) -> None:
        """Create, end and delete Jobs like those of the CronJobs."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._come_and_go, range(count)))
        self.settle()
        self.samples.add("memory_after_jobs_mb", self.process.memory_info().rss / 1e6)

    def _come_and_go(self, number: int) -> None:
        namespace, api = self.operator.namespace, self.operator.api
        refresh = self.names[number % len(self.names)]
        cronjob = self.operator.cronjob(refresh) or {}
        template = cronjob["spec"]["jobTemplate"]
        # suspended, so that no pod is created and the Job controller does not interfere
        spec = {**template["spec"], "suspend": True}
        name = f"{refresh}-{29000000 + number}"
        api.create(namespace, "jobs", {"metadata": {**template["metadata"], "name": name}, "spec": spec})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ends = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("FailureTarget", "Failed")]
        api.patch(namespace, "jobs", name, {"status": {"startTime": now, "conditions": ends}}, status=True)
        eventually(lambda: any(run["id"] == name for run in self.operator.status(refresh).get("history", [])), within=120, every=0.2)
        api.delete(namespace, "jobs", name)


def _copy(item: Json) -> Json:
    """Return a copy of an object that can be created elsewhere, without owner."""
    kept = {key: item["metadata"][key] for key in ("name", "labels", "annotations") if key in item["metadata"]}
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": kept}


@contextmanager
def operator_in(paths: Paths, settings: dict[str, str]) -> Iterator[OperatorHarness]:
    """Start a control plane with the operator's chart, without the operator; removed afterwards."""
    home = paths.clusters / f"bench-{os.getpid()}"
    plane = ControlPlane(home, build(KUBE, paths.cache))
    plane.up(owner=os.getpid())
    folder = home / "bench"
    folder.mkdir()
    try:
        api = ApiServer(plane.kubeconfig, folder)
        link_tools(folder, plane.kube)
        kubectl = Kubectl(plane.kubeconfig, program=str(folder / "kubectl"))
        kubectl("apply", "-f", str(ROOT / "crds"))
        eventually(lambda: kubectl.attempt("get", "dr").returncode == 0, within=30)
        operator = OperatorHarness(api, kubectl.within("scale"), build(HELM_PROGRAM, paths.cache), folder, settings)
        operator.prepare()
        yield operator
        operator.stop()
        api.close()
    finally:
        plane.down()
        shutil.rmtree(home, ignore_errors=True)


def measure(options: argparse.Namespace) -> Path:
    """Measure everything; return the file of samples."""
    health = f"http://127.0.0.1:{free_port()}"
    words = [f"--{name} {value}" for name, value in vars(options).items()]
    samples = Samples(
        f"operator-{options.count}",
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        " ".join(["python -m bench.operator_at_scale", *words]),
        versions={"python": platform.python_version(), "kubernetes": KUBERNETES, **{each: version(each) for each in ("kopf", "pydantic")}},
        counts={"cores": os.cpu_count() or 0, "memory_mb": psutil.virtual_memory().total // 2**20, **vars(options)},
    )
    # the chart's settings where those of the tests are quicker
    slower = {"RECHECK": "15s", "LOST_AFTER": "3m"}
    with operator_in(paths_of(os.environ), {"HEALTH_ENDPOINT": f"{health}/healthz", **slower}) as operator:
        operator.start()
        eventually(lambda: operator.responds(f"{health}/readyz"), within=30)
        bench = Bench(operator, samples, options.count)
        steps: list[tuple[str, Callable[[], Any]]] = [
            ("create", bench.create_all),
            ("floor", bench.floor),
            ("rest", lambda: bench.rest(options.rest)),
            ("edit", lambda: bench.edit(options.edits)),
            ("finish", lambda: bench.finish(options.runs)),
            ("restart", lambda: bench.restart(f"{health}/readyz")),
            ("jobs", lambda: bench.jobs_come_and_go(options.jobs)),
            ("edit again", lambda: bench.edit(options.edits, "edit_after_jobs_seconds")),
            ("finish again", lambda: bench.finish(options.runs, "finish_after_jobs_seconds")),
        ]
        for name, step in steps:
            print(f"[{time.strftime('%H:%M:%S')}] {name}", flush=True)
            try:
                step()
            except AssertionError as error:
                # the measurements so far are still judged; missing ones count as missed goals
                print(f"{name} did not come to its end: {error}", file=sys.stderr)
                samples.notes.append(f"{name} did not come to its end: {str(error).splitlines()[0]}")
                break
    return samples.store(RESULTS)


def main() -> int:
    """Measure, store and judge; exit code 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"count": 1000, "edits": 200, "runs": 100, "jobs": 3000, "rest": 300}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    path = measure(parser.parse_args())
    print(f"samples: {path.relative_to(ROOT)}")
    return judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
