"""The operator as a process, installed by its chart into a namespace of a real API server without nodes; tests play the kubelet."""

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
from support.worlds import ROOT, sample_spec

Json = dict[str, Any]
REFRESHES = "dashboardrefreshes"
WAREHOUSE = {"host": "db", "dbname": "warehouse", "user": "dbt", "password": "p%40:/'\"$"}

POLICY = ("admissionPolicy.enabled=true", "runner.image.tag=test")
"""Values of the chart that keep the operator's token to its own objects; the image is the one of the settings below."""


@dataclass
class OperatorHarness:
    """A namespace, the operator that watches it, and what a user, a kubelet or a runner does there."""

    api: ApiServer
    kubectl: Kubectl
    helm: Path
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "refresh_operator")
    """What Python is to run as the operator."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def namespace(self) -> str:
        """Name of the namespace."""
        return self.kubectl.namespace

    @property
    def log(self) -> Path:
        """What the operator wrote, over all its lives."""
        return self.home / f"{self.namespace}.log"

    def prepare(self, *values: str) -> None:
        """Make the namespace with a warehouse's Secret, and the operator's permissions from the chart with these values."""
        self.api.create("", "namespaces", {"metadata": {"name": self.namespace}})
        self.secret("warehouse", WAREHOUSE)
        self.install(*values, only="templates/rbac.yaml")
        if POLICY[0] in values:
            self.install(*values, only="templates/admissionpolicy.yaml")
        token = self.api.token(self.namespace, "op-dashboard-refresh")
        config = json.loads(self.kubectl.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        (self.home / f"{self.namespace}.kubeconfig").write_text(json.dumps(config))

    def install(self, *values: str, only: str = "") -> None:
        """Apply the chart with these values, or one template of it."""
        command = [str(self.helm), "template", "op", str(ROOT / "deploy/helm"), "-n", self.namespace, *(["-s", only] if only else [])]
        command += [word for value in values for word in ("--set", value)]
        rendered = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        # kubectl takes the objects of one namespace at a time, or of none
        for namespace, objects in groupby(filter(None, yaml.safe_load_all(rendered)), lambda each: each["metadata"].get("namespace")):
            self.kubectl.within(namespace or self.namespace).apply(yaml.safe_dump_all(objects))

    @property
    def pid(self) -> int:
        """The operator's process."""
        assert self._process, "the operator is not running"
        return self._process.pid

    def replica(self, name: str, port: int) -> OperatorHarness:
        """Another operator of this namespace, which shares a Lease with its like; to be started and stopped on its own."""
        lease = {"LEASE_NAME": "op-dashboard-refresh", "POD_NAME": name}
        return replace(self, settings={**self.settings, **lease, "HEALTH_ENDPOINT": f"http://127.0.0.1:{port}/healthz"}, _process=None)

    @staticmethod
    def answers(url: str) -> bool:
        """Whether a probe is answered with 200."""
        try:
            return httpx.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def start(self) -> None:
        """Start the operator, with the permissions of its chart and no others."""
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.home / f"{self.namespace}.kubeconfig"),
            "WATCH_NAMESPACES": "" if "WATCH_CLUSTER_WIDE" in self.settings else self.namespace,
            "RUNNER_IMAGE": "refresh-runner:test",
            "OPERATOR_NAMESPACE": self.namespace,
            "PAUSE_CONFIGMAP": "op-dashboard-refresh-pause",
            "RECHECK": "2s",
            "LOST_AFTER": "4s",
            **self.settings,
        }
        with self.log.open("ab") as output:
            command = [sys.executable, *self.program]
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the operator, and return its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        self._process = None
        return code

    def freeze(self) -> None:
        """Stop the operator in mid-step, as a machine under pressure does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, within: float) -> int:
        """Wait until the operator ends by itself, and return its exit code."""
        assert self._process, "the operator is not running"
        code = self._process.wait(timeout=within)
        self._process = None
        return code

    def secret(self, name: str, content: Mapping[str, str]) -> None:
        """Make a Secret."""
        self.api.create(self.namespace, "secrets", {"metadata": {"name": name}, "stringData": dict(content)})

    def refresh(self, name: str, token: str | None = None, **changes: Any) -> Json:
        """Make a refresh like the phase 2 sample that is never due by itself, with changes to its spec."""
        annotations = {"dashboards.sigeti.io/requestedAt": token} if token else {}
        body = {
            "apiVersion": "dashboards.sigeti.io/v1alpha1",
            "kind": "DashboardRefresh",
            "metadata": {"name": name, "annotations": annotations},
            "spec": sample_spec(**{"schedule": "0 0 1 1 *", **changes}),
        }
        return self.api.create(self.namespace, REFRESHES, body)

    def edit(self, name: str, **changes: Any) -> None:
        """Change fields of a refresh's spec."""
        self.api.patch(self.namespace, REFRESHES, name, {"spec": changes})

    def request(self, name: str, token: str) -> None:
        """Ask for a run, as users do."""
        self.api.patch(self.namespace, REFRESHES, name, {"metadata": {"annotations": {"dashboards.sigeti.io/requestedAt": token}}})

    def annotate(self, name: str, **values: str) -> None:
        """Set our annotations on a refresh, as users do."""
        annotations = {f"dashboards.sigeti.io/{key}": value for key, value in values.items()}
        self.api.patch(self.namespace, REFRESHES, name, {"metadata": {"annotations": annotations}})

    def seen(self, name: str) -> Json:
        """A refresh as it is now."""
        found = self.api.get(self.namespace, REFRESHES, name)
        assert found is not None, f"no refresh {name}"
        return found

    def status(self, name: str) -> Json:
        """Its status."""
        return dict(self.seen(name).get("status", {}))

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason of one of its conditions; empty before there is one."""
        found = [each for each in self.status(name).get("conditions", []) if each["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def cronjob(self, name: str) -> Json | None:
        """Its CronJob; None if there is none."""
        return self.api.get(self.namespace, "cronjobs", name)

    def jobs(self, name: str) -> list[Json]:
        """Its Jobs."""
        return self.api.items(self.namespace, "jobs", f"dashboards.sigeti.io/refresh={name}")

    def ready(self, name: str) -> None:
        """Wait until a refresh is ready."""
        eventually(lambda: self.condition(name, "Ready")[0] == "True", within=60, context=lambda: self.story(name))

    def until(self, check: Any, within: float = 45, of: str = "") -> Any:
        """Wait for a truth; what is to be seen of the refresh `of` is told if it does not come."""
        return eventually(check, within=within, context=lambda: self.story(of))

    def told(self, name: str, *reasons: str) -> None:
        """Wait until each of these events was posted, and see that it was once: they follow the status that they speak of."""
        self.until(lambda: set(reasons) <= {reason for reason, _ in self.events(name)}, 5, name)
        posted = [reason for reason, _ in self.events(name)]
        assert [posted.count(reason) for reason in reasons] == [1] * len(reasons)

    def run_of(self, name: str, within: float = 45) -> str:
        """Wait for a refresh's only unfinished Job, and return its name."""

        def unfinished() -> str | None:
            known = {run["id"] for run in self.status(name).get("history", [])}
            names = [job["metadata"]["name"] for job in self.jobs(name)]
            return next((each for each in names if each not in known), None)

        return str(self.until(unfinished, within, name))

    def pod_of(self, job: str) -> Json:
        """Wait for a Job's pod that has not ended, and return it."""

        def unfinished() -> Json | None:
            pods = self.api.items(self.namespace, "pods", f"batch.kubernetes.io/job-name={job}")
            return next((pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")), None)

        return dict(eventually(unfinished, within=45))

    def play(self, job: str, phase: str, state: Json | None = None, **status: Any) -> None:
        """Be the kubelet: the state of the container of a Job's pod."""
        container = {"name": "runner", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state or {}}
        body = {"status": {"phase": phase, "containerStatuses": [container] if state else [], **status}}
        self.api.patch(self.namespace, "pods", self.pod_of(job)["metadata"]["name"], body, status=True)

    def end(self, job: str, code: int = 0, message: str = "", reason: str = "Error", **status: Any) -> None:
        """Be the kubelet: the container of a Job's pod ends with this exit code and termination message."""
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else reason, "message": message}
        self.play(job, "Failed" if code else "Succeeded", {"terminated": ended}, **status)

    def report(self, name: str, job: str, **changes: Any) -> None:
        """Be the runner: write status.run."""
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

    def concluded(self, name: str, job: str, within: float = 60) -> Json:
        """Wait for the operator's entry of a run in the history, and return it."""
        return dict(self.until(lambda: next((run for run in self.status(name).get("history", []) if run["id"] == job), None), within, name))

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reasons and messages of the events on a refresh, oldest first."""
        found = [each for each in self.api.items(self.namespace, "events") if each["involvedObject"]["name"] == name]
        return [(each["reason"], each["message"]) for each in sorted(found, key=lambda each: each["metadata"]["creationTimestamp"])]

    def story(self, name: str) -> str:
        """What a person would look at."""
        refresh = self.kubectl.attempt("get", "dr", name, "-o", "yaml").stdout if name else ""
        lines = self.log.read_text().splitlines()[-25:] if self.log.exists() else []
        return "\n".join([refresh, self.kubectl.story(), "--- operator", *lines])
