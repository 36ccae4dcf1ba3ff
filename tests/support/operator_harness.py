"""The operator as a process, installed by its chart in a namespace of a real API server without nodes. Tests act as the kubelet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.apiserver import ApiServer
from support.eventually import eventually
from support.kubectl import Kubectl
from support.processes import with_this_process
from support.snapshots import ROOT, sample_spec

Json = dict[str, Any]
REFRESHES = "dashboardrefreshes"
WAREHOUSE = {"host": "db", "dbname": "warehouse", "user": "dbt", "password": "p%40:/'\"$"}

POLICY = ("admissionPolicy.enabled=true", "runner.image.tag=test", "runner.allowedImages={registry.example.org/team/*}")
"""Chart values that limit the operator's token to its own objects; the image is that of `start`."""


@dataclass
class OperatorHarness:
    """A namespace, the operator that watches it, and what a user, a kubelet or a runner does there."""

    api: ApiServer
    kubectl: Kubectl
    helm: Path
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "refresh_operator")
    """Arguments of Python that run the operator."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def namespace(self) -> str:
        """The namespace that the operator watches."""
        return self.kubectl.namespace

    @property
    def log(self) -> Path:
        """Log of the operator, over all restarts."""
        return self.home / f"{self.namespace}.log"

    def prepare(self, *values: str) -> None:
        """Create the namespace, the warehouse Secret, and the operator's permissions from the chart with these values."""
        self.create_namespace()
        self.install(*values, only="templates/rbac.yaml")
        if POLICY[0] in values:
            self.install(*values, only="templates/admissionpolicy.yaml")
        self.take_token()

    def create_namespace(self) -> None:
        """Create the namespace and the warehouse Secret."""
        self.api.create("", "namespaces", {"metadata": {"name": self.namespace}})
        self.create_secret("warehouse", WAREHOUSE)

    def take_token(self) -> None:
        """Write the kubeconfig with which the operator starts: that of the ServiceAccount of the release `op`."""
        token = self.api.token(self.namespace, "op-dashboard-refresh")
        config = json.loads(self.kubectl.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        (self.home / f"{self.namespace}.kubeconfig").write_text(json.dumps(config))

    def install(self, *values: str, only: str = "") -> None:
        """Apply the chart with these values, or one template of it."""
        command = [str(self.helm), "template", "op", str(ROOT / "deploy/helm"), "-n", self.namespace, *(["-s", only] if only else [])]
        command += [word for value in values for word in ("--set", value)]
        rendered = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        # kubectl applies objects of one namespace at a time, or of none
        for namespace, objects in groupby(filter(None, yaml.safe_load_all(rendered)), lambda each: each["metadata"].get("namespace")):
            self.kubectl.within(namespace or self.namespace).apply(yaml.safe_dump_all(objects))

    @property
    def pid(self) -> int:
        """Process id of the operator."""
        assert self._process, "the operator is not running"
        return self._process.pid

    def replica(self, name: str, port: int) -> OperatorHarness:
        """Return another replica for this namespace; replicas share a Lease and are started and stopped one by one."""
        own = {"POD_NAME": name, "HEALTH_ENDPOINT": f"http://127.0.0.1:{port}/healthz"}
        return replace(self, settings={**self.settings, **own}, _process=None)

    @staticmethod
    def responds(url: str) -> bool:
        """Return whether a probe answers 200."""
        try:
            return httpx.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def start(self) -> None:
        """Start the operator with the permissions that its chart grants."""
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.home / f"{self.namespace}.kubeconfig"),
            "WATCH_NAMESPACES": "" if "WATCH_CLUSTER_WIDE" in self.settings else self.namespace,
            "RUNNER_IMAGE": "refresh-runner:test",
            "OPERATOR_NAMESPACE": self.namespace,
            "PAUSE_CONFIGMAP": "op-dashboard-refresh-pause",
            "LEASE_NAME": "op-dashboard-refresh",
            "POD_NAME": "op",
            "RECHECK": "2s",
            "LOST_AFTER": "4s",
            **self.settings,
        }
        with self.log.open("ab") as output:
            command = with_this_process(sys.executable, *self.program)
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the operator; return its exit code, 0 where it does not run."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        self._process = None
        return code

    def freeze(self) -> None:
        """Freeze the process, as on an overloaded machine."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen process."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, within: float) -> int:
        """Wait until the operator exits by itself; return its exit code."""
        assert self._process, "the operator is not running"
        code = self._process.wait(timeout=within)
        self._process = None
        return code

    def create_secret(self, name: str, content: Mapping[str, str]) -> None:
        """Create a Secret."""
        self.api.create(self.namespace, "secrets", {"metadata": {"name": name}, "stringData": dict(content)})

    def create_refresh(self, name: str, token: str | None = None, **changes: Any) -> Json:
        """Create a refresh from the phase 2 sample, with changes to its spec; its schedule is due once a year."""
        annotations = {"dashboards.sigeti.io/requestedAt": token} if token else {}
        body = {
            "apiVersion": "dashboards.sigeti.io/v1alpha1",
            "kind": "DashboardRefresh",
            "metadata": {"name": name, "annotations": annotations},
            "spec": sample_spec(**{"schedule": "0 0 1 1 *", **changes}),
        }
        return self.api.create(self.namespace, REFRESHES, body)

    def patch_spec(self, name: str, **changes: Any) -> None:
        """Merge changes into a refresh's spec."""
        self.api.patch(self.namespace, REFRESHES, name, {"spec": changes})

    def request_run(self, name: str, token: str) -> None:
        """Request a run by annotation, as users do."""
        self.api.patch(self.namespace, REFRESHES, name, {"metadata": {"annotations": {"dashboards.sigeti.io/requestedAt": token}}})

    def annotate(self, name: str, **values: str) -> None:
        """Set annotations of our group on a refresh, as users do."""
        annotations = {f"dashboards.sigeti.io/{key}": value for key, value in values.items()}
        self.api.patch(self.namespace, REFRESHES, name, {"metadata": {"annotations": annotations}})

    def get_refresh(self, name: str) -> Json:
        """Return a refresh as it is now."""
        found = self.api.get(self.namespace, REFRESHES, name)
        assert found is not None, f"no refresh {name}"
        return found

    def status(self, name: str) -> Json:
        """Return a refresh's status."""
        return dict(self.get_refresh(name).get("status", {}))

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Return status and reason of a condition; empty where it is missing."""
        found = [each for each in self.status(name).get("conditions", []) if each["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def cronjob(self, name: str) -> Json | None:
        """Return a refresh's CronJob; None where it has none."""
        return self.api.get(self.namespace, "cronjobs", name)

    def jobs(self, name: str) -> list[Json]:
        """Return a refresh's Jobs."""
        return self.api.items(self.namespace, "jobs", f"dashboards.sigeti.io/refresh={name}")

    def wait_until_ready(self, name: str) -> None:
        """Wait until the condition Ready is True."""
        eventually(lambda: self.condition(name, "Ready")[0] == "True", within=60, context=lambda: self.describe(name))

    def wait_for(self, check: Any, within: float = 45, of: str = "") -> Any:
        """Wait until `check` holds and return what it returns; on a timeout the error describes the refresh `of`."""
        return eventually(check, within=within, context=lambda: self.describe(of))

    def expect_events(self, name: str, *reasons: str) -> None:
        """Assert that each of these events is posted exactly once; events follow the status within seconds."""
        self.wait_for(lambda: set(reasons) <= {reason for reason, _ in self.events(name)}, 5, name)
        posted = [reason for reason, _ in self.events(name)]
        counts = {reason: posted.count(reason) for reason in reasons}
        assert set(counts.values()) == {1}, f"each of these events should be posted once: {counts}"

    def wait_for_job(self, name: str, within: float = 45) -> str:
        """Wait for a Job that is not in the history yet; return its name."""

        def unfinished() -> str | None:
            known = {run["id"] for run in self.status(name).get("history", [])}
            names = [job["metadata"]["name"] for job in self.jobs(name)]
            return next((each for each in names if each not in known), None)

        return str(self.wait_for(unfinished, within, name))

    def wait_for_pod(self, job: str) -> Json:
        """Wait for a Job's pod that has not ended; return it."""

        def unfinished() -> Json | None:
            pods = self.api.items(self.namespace, "pods", f"batch.kubernetes.io/job-name={job}")
            return next((pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")), None)

        return dict(eventually(unfinished, within=45))

    def set_pod_status(self, job: str, phase: str, state: Json | None = None, **status: Any) -> None:
        """Act as the kubelet: write the phase and the container state of a Job's pod."""
        container = {"name": "runner", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state or {}}
        body = {"status": {"phase": phase, "containerStatuses": [container] if state else [], **status}}
        self.api.patch(self.namespace, "pods", self.wait_for_pod(job)["metadata"]["name"], body, status=True)

    def end_pod(self, job: str, code: int = 0, message: str = "", reason: str = "Error", **status: Any) -> None:
        """Act as the kubelet: end the container of a Job's pod with an exit code and a termination message."""
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else reason, "message": message}
        self.set_pod_status(job, "Failed" if code else "Succeeded", {"terminated": ended}, **status)

    def report_run(self, name: str, job: str, **changes: Any) -> None:
        """Act as the runner: write `status.run` of a successful run, with changes."""
        run = {
            "id": job,
            "generation": 1,
            "phase": "Finished",
            "attempt": 1,
            "attempts": 3,
            "startTime": "2026-03-03T12:00:00Z",
            "heartbeatTime": "2026-03-03T12:03:00Z",
            "completionTime": "2026-03-03T12:03:00Z",
            "outcome": "Succeeded",
            "reason": "Succeeded",
            "marts": "4/4",
            **changes,
        }
        body = {
            "apiVersion": "dashboards.sigeti.io/v1alpha1",
            "kind": "DashboardRefresh",
            "metadata": {"name": name, "namespace": self.namespace},
            "status": {"run": {key: value for key, value in run.items() if value is not None}},
        }
        self.api.apply_status(self.namespace, name, body, "refresh-runner")

    def wait_for_history(self, name: str, job: str, within: float = 60) -> Json:
        """Wait for a run's entry in `status.history`; return it."""
        return dict(
            self.wait_for(lambda: next((run for run in self.status(name).get("history", []) if run["id"] == job), None), within, name)
        )

    def events(self, name: str) -> list[tuple[str, str]]:
        """Return reasons and messages of a refresh's events, oldest first."""
        found = [each for each in self.api.items(self.namespace, "events") if each["involvedObject"]["name"] == name]
        return [(each["reason"], each["message"]) for each in sorted(found, key=lambda each: each["metadata"]["creationTimestamp"])]

    def describe(self, name: str) -> str:
        """Return what helps to debug: the refresh, objects and events of the namespace, and the end of the operator's log."""
        refresh = self.kubectl.attempt("get", "dr", name, "-o", "yaml").stdout if name else ""
        lines = self.log.read_text().splitlines()[-25:] if self.log.exists() else []
        return "\n".join([refresh, self.kubectl.describe(), "--- operator", *lines])
