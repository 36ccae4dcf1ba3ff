"""Everything a user needs, installed in a cluster: warehouse, source data, dashboard API, inbox, and the operator by its chart."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from cluster.paths import paths_of
from cluster.seam import Cluster
from support.eventually import eventually
from support.kubectl import Kubectl, KubectlError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "deploy"
SAMPLES = ROOT / "deploy" / "samples"
CHART = ROOT / "deploy" / "helm"
RELEASE = "dashboard-refresh"
PAGE_PASSWORD = "lecture-seule"
DEMO_LABEL = "dashboards.sigeti.io/demo=true"
"""Label of the demo's objects, by which they are removed from a cluster with other objects."""
_HELM_LIMIT = 180.0  # seconds


class HelmError(KubectlError):
    """helm failed; the text is its error message."""


@dataclass(frozen=True)
class Installation:
    """One namespace of a cluster with warehouse, API, inbox and operator."""

    kubectl: Kubectl
    helm: str
    images: Mapping[str, str]
    """Image references by name: refresh-operator, refresh-runner, refresh-page, refresh-examples."""

    @classmethod
    def in_cluster(cls, cluster: Cluster, namespace: str = "default") -> Self:
        """Return the installation in a namespace of a running cluster, with images built from this checkout."""
        tools = paths_of(os.environ).tools
        kubectl = Kubectl(cluster.kubeconfig, namespace, str(tools / "kubectl"))
        return cls(kubectl, str(tools / "helm"), cluster.load())

    def deploy_warehouse_and_api(self, *others: str) -> None:
        """Apply warehouse, API, inbox and other stand-ins; wait for their rollouts."""
        self.deploy("warehouse", "inbox", "dashboard-api", *others)

    def deploy(self, *names: str) -> None:
        """Apply stand-ins from `examples/deploy`; wait for their rollouts."""
        for name in names:
            manifest = (EXAMPLES / f"{name}.yaml").read_text()
            self.kubectl.apply(manifest.replace("refresh-examples:dev", self.images["refresh-examples"]))
        for name in names:
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s", timeout=150)

    def load_sources(self, rows: int, seed: int, as_of: str) -> None:
        """Replace the source data by generated records."""
        command = ["refresh-examples", "load", f"--rows={rows}", f"--seed={seed}", f"--as-of={as_of}"]
        self.kubectl("exec", "deployment/warehouse", "--", "env", "PGHOST=127.0.0.1", *command, timeout=300)

    def psql(self, statement: str, *options: str) -> str:
        """Run a statement with psql in the warehouse's pod; return its output."""
        return self.kubectl(*_psql("-v", "ON_ERROR_STOP=1", *options, "-c", statement), timeout=300)

    def rows(self, relation: str) -> list[dict[str, Any]]:
        """Return all rows of a relation: numbers as Decimal, dates as ISO 8601 text."""
        lines = self.psql(f"select row_to_json(r) from {relation} r", "-At").splitlines()
        return [json.loads(line, parse_float=Decimal) for line in lines]

    def install_operator(self, *values: str) -> None:
        """Run `helm upgrade --install` with the images built here; `values` are arguments of --set."""
        repositories = {part: self.images[f"refresh-{part}"].rsplit(":", 1) for part in ("operator", "runner", "page")}
        images = [f"{part}.image.repository={repository},{part}.image.tag={tag}" for part, (repository, tag) in repositories.items()]
        # Tags may consist of digits, which --set reads as numbers. --set-string takes precedence over --set.
        # The inbox that plays Slack has no TLS certificate.
        values = ("webhooks.allowHttp=true", *values)
        sets = [word for value in (*images, *values) for word in ("--set-string" if ".image." in value else "--set", value)]
        try:
            options = ["--create-namespace", "--wait", "--timeout=120s", f"--labels={DEMO_LABEL}"]
            self._helm("upgrade", "--install", RELEASE, str(CHART), *options, *sets)
        except HelmError as error:
            raise HelmError(f"{error}\n{self.kubectl.describe('pods')}".rstrip()) from None

    def create_page_role(self) -> None:
        """Create a read-only role for the run log, and the Secret with which the page connects as this role."""
        if not self.psql("select rolname from pg_roles where rolname = 'refresh_page'", "-At").strip():
            self.psql(
                f"create role refresh_page login password '{PAGE_PASSWORD}' connection limit 8;"
                " alter role refresh_page set default_transaction_read_only = on;"
                " grant usage on schema public to refresh_page; grant select on all tables in schema public to refresh_page;"
                " alter default privileges in schema public grant select on tables to refresh_page"
            )
        values = {"host": "warehouse", "port": "5432", "dbname": "dwh", "user": "refresh_page", "password": PAGE_PASSWORD}
        self.create_secret("warehouse-page", values)

    def create_secret(self, name: str, keys: Mapping[str, str]) -> None:
        """Create or update a Secret of the demo."""
        metadata = {"name": name, "labels": _labels()}
        self.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys}))

    def uninstall_operator(self) -> None:
        """Run `helm uninstall`."""
        self._helm("uninstall", RELEASE, "--wait")

    def remove_demo(self) -> list[str]:
        """Remove all objects with the demo's label: refreshes, then the release, then the rest. Return what was removed."""
        self.kubectl.attempt("delete", "dashboardrefresh", "-l", DEMO_LABEL, "--cascade=foreground", "--wait=true", timeout=120)
        released = RELEASE in self._helm("list", "--short", f"--selector={DEMO_LABEL}").split()
        if released:
            self.uninstall_operator()
        kinds = "deployments,services,secrets"
        deleted = self.kubectl("delete", kinds, "-l", DEMO_LABEL, "--wait=true", timeout=120).splitlines()
        return [*([f'release "{RELEASE}" uninstalled'] if released else []), *[line for line in deleted if "deleted" in line]]

    def _helm(self, *arguments: str) -> str:
        command = [self.helm, f"--kubeconfig={self.kubectl.kubeconfig}", f"--namespace={self.kubectl.namespace}", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_HELM_LIMIT, check=False)
        except subprocess.TimeoutExpired:
            raise HelmError(f"helm {arguments[0]}: timed out after {_HELM_LIMIT:.0f} s") from None
        if done.returncode != 0:
            raise HelmError(f"helm {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def request_run(self, refresh: str, token: str, mode: str | None = None) -> None:
        """Request a run by annotation, as users do; without a mode, the annotation runMode stays as it is."""
        modes = [f"dashboards.sigeti.io/runMode={mode}"] if mode else []
        self.kubectl("annotate", "--overwrite", "dashboardrefresh", refresh, f"dashboards.sigeti.io/requestedAt={token}", *modes)

    def status(self, refresh: str) -> dict[str, Any]:
        """Return the refresh's status."""
        status: dict[str, Any] = self.kubectl.json("dashboardrefresh", refresh).get("status", {})
        return status

    def wait_for_run(self, refresh: str, token: str, within: float = 300) -> dict[str, Any]:
        """Wait until the run requested by the token has ended; return its entry in `status.history`."""

        def job(seen: dict[str, Any]) -> str | None:
            asked = seen["metadata"].get("annotations", {}).get("dashboards.sigeti.io/request") == token
            return seen["metadata"]["name"] if asked else None

        with self._describe_on_error(refresh):
            started = self.kubectl.watch_until("jobs", "-l", f"dashboards.sigeti.io/refresh={refresh}", until=job, within=60)
        return self.wait_for_history(refresh, started, within)

    def wait_for_history(self, refresh: str, job: str, within: float = 300) -> dict[str, Any]:
        """Wait until the Job's run is in `status.history`; return its entry."""

        def entry(seen: dict[str, Any]) -> dict[str, Any] | None:
            return next((run for run in seen.get("status", {}).get("history", []) if run["id"] == job), None)

        with self._describe_on_error(refresh):
            return self.kubectl.watch_until("dashboardrefresh", refresh, until=entry, within=within)

    @contextmanager
    def _describe_on_error(self, refresh: str) -> Iterator[None]:
        try:
            yield
        except KubectlError as error:
            raise KubectlError(f"{error}\n{self.describe(refresh)}") from None

    def dashboard_summary(self, dashboard: str) -> dict[str, Any]:
        """Return the dashboard API's summary for one of the four dashboards."""
        answer: dict[str, Any] = json.loads(self._proxy("dashboard-api:8000", f"api/{dashboard}/summary"))
        return answer

    @contextmanager
    def unreachable(self, service: str) -> Iterator[None]:
        """Make the Service of a stand-in point to no pod while the block runs; its data stay."""
        self._route(service, "nobody")
        try:
            yield
        finally:
            self._route(service, service)

    def _route(self, service: str, app: str) -> None:
        """Point a Service to the pods of an app; wait until its endpoints follow."""
        self.kubectl("patch", "service", service, "-p", json.dumps({"spec": {"selector": {"app": app}}}))
        label = f"kubernetes.io/service-name={service}"

        def addresses() -> int:
            slices = self.kubectl.json("endpointslices", "-l", label)["items"]
            return sum(len(one.get("endpoints") or []) for one in slices)

        eventually(lambda: (addresses() > 0) == (app == service), within=60)

    @contextmanager
    def slow_table(self, table: str, seconds: int) -> Iterator[None]:
        """Make every read of the table take this long while the block runs; views on it are dropped afterwards."""
        schema, name = table.split(".")
        self.psql(
            f"alter table {table} rename to {name}_lente;"
            f" create view {table} as select lente.* from {schema}.{name}_lente as lente, (select pg_sleep({seconds})) as attente"
        )
        try:
            yield
        finally:
            self.psql(f"drop view {table} cascade; alter table {schema}.{name}_lente rename to {name}")

    @contextmanager
    def locked_table(self, table: str) -> Iterator[int]:
        """Lock the table from another session while the block runs; yields the session's process id."""
        forgotten = f"lock table {table} in access exclusive mode"
        where = f"from pg_stat_activity where query like '{forgotten}%' and wait_event = 'PgSleep'"
        command = self.kubectl.command(*_psql("-c", f"{forgotten}; select pg_sleep(600)", name="somebody"))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:

            def session() -> str:
                if process.poll() is not None:
                    raise RuntimeError(f"{table} was not locked: {process.communicate()[0]}")
                return self.psql(f"select pid {where}", "-At").strip()

            try:
                yield int(eventually(session, within=60))
            finally:
                self.psql(f"select pg_terminate_backend(pid) {where}")

    def inbox_messages(self) -> list[dict[str, Any]]:
        """Return the messages received by Slack and mail, oldest first."""
        messages: list[dict[str, Any]] = json.loads(self._proxy("inbox:http", "messages"))
        return messages

    def _proxy(self, service: str, path: str) -> str:
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.kubectl.namespace}/services/{service}/proxy/{path}")

    def job_of(self, refresh: str, token: str) -> str | None:
        """Return the name of the Job that was requested by the token; None before it exists."""
        jobs = self.kubectl.json("jobs", "-l", f"dashboards.sigeti.io/refresh={refresh}")["items"]
        found = [job for job in jobs if job["metadata"].get("annotations", {}).get("dashboards.sigeti.io/request") == token]
        return found[0]["metadata"]["name"] if found else None

    def describe(self, refresh: str) -> str:
        """Return what helps to debug a refresh: describe, runner log, operator log."""
        logs = self.kubectl.attempt("logs", "--tail=40", "-l", f"dashboards.sigeti.io/refresh={refresh}", "--all-containers").stdout
        operator = self.kubectl.attempt("logs", "--tail=40", f"deployment/{RELEASE}").stdout
        return f"{self.kubectl.describe(f'dashboardrefresh/{refresh}')}\n--- runner\n{logs}\n--- operator\n{operator}"


def _psql(*options: str, name: str = "psql") -> list[str]:
    """Return kubectl's arguments for psql in the warehouse's pod; `name` is the application name."""
    return ["exec", "deployment/warehouse", "--", "env", "PGHOST=127.0.0.1", f"PGAPPNAME={name}", "refresh-examples", "psql", *options]


def _labels() -> dict[str, str]:
    name, _, value = DEMO_LABEL.partition("=")
    return {name: value}
