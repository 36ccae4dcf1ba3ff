"""What a user brings, set up in a cluster: warehouse, source data, dashboard API, inbox, and the operator from its chart."""

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


@dataclass(frozen=True)
class Stage:
    """One namespace of a cluster, with everything that a refresh needs around it."""

    kubectl: Kubectl
    helm: str
    images: Mapping[str, str]
    """References of the images, by name: refresh-operator, refresh-runner, refresh-page, refresh-examples."""

    @classmethod
    def of(cls, cluster: Cluster, namespace: str = "default") -> Self:
        """The stage in a namespace of a running cluster, with the images that are built from this checkout."""
        tools = paths_of(os.environ).tools
        kubectl = Kubectl(cluster.kubeconfig, namespace, str(tools / "kubectl"))
        return cls(kubectl, str(tools / "helm"), cluster.load())

    def bring_warehouse_and_api(self) -> None:
        """Apply warehouse, API and inbox, and wait until they answer."""
        for name in ("warehouse", "dashboard-api", "inbox"):
            manifest = (EXAMPLES / f"{name}.yaml").read_text()
            self.kubectl.apply(manifest.replace("refresh-examples:dev", self.images["refresh-examples"]))
        for name in ("warehouse", "inbox", "dashboard-api"):
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s", timeout=150)

    def load(self, rows: int, seed: int, as_of: str) -> None:
        """Fill the sources with generated records, anew."""
        command = ["refresh-examples", "load", f"--rows={rows}", f"--seed={seed}", f"--as-of={as_of}"]
        self.kubectl("exec", "deployment/warehouse", "--", "env", "PGHOST=127.0.0.1", *command, timeout=300)

    def psql(self, statement: str, *options: str) -> str:
        """Return what psql prints for a statement, run in the warehouse's pod."""
        return self.kubectl(*_psql("-v", "ON_ERROR_STOP=1", *options, "-c", statement), timeout=300)

    def rows(self, relation: str) -> list[dict[str, Any]]:
        """All rows of a relation, numbers exact, dates as ISO text."""
        lines = self.psql(f"select row_to_json(r) from {relation} r", "-At").splitlines()
        return [json.loads(line, parse_float=Decimal) for line in lines]

    def install_operator(self, *values: str) -> None:
        """`helm upgrade --install` the chart, with the images built here; `values` as after --set."""
        repositories = {part: self.images[f"refresh-{part}"].rsplit(":", 1) for part in ("operator", "runner", "page")}
        images = [f"{part}.image.repository={repository},{part}.image.tag={tag}" for part, (repository, tag) in repositories.items()]
        # A tag may be all digits, which --set takes for a number; and what --set-string says goes before what --set says.
        # The inbox that stands for Slack has no certificate.
        values = ("webhooks.allowHttp=true", *values)
        sets = [word for value in (*images, *values) for word in ("--set-string" if ".image." in value else "--set", value)]
        command = [
            self.helm,
            f"--kubeconfig={self.kubectl.kubeconfig}",
            f"--namespace={self.kubectl.namespace}",
            *["upgrade", "--install", RELEASE, str(CHART), "--create-namespace", "--wait", "--timeout=120s"],
            *sets,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"helm: {done.stderr}\n{self.kubectl.story('pods')}"

    def bring_page_reader(self) -> None:
        """A role in the warehouse that may only read what runs note there, and the Secret by which the page is this role."""
        if not self.psql("select rolname from pg_roles where rolname = 'refresh_page'", "-At").strip():
            self.psql(
                f"create role refresh_page login password '{PAGE_PASSWORD}' connection limit 8;"
                " alter role refresh_page set default_transaction_read_only = on;"
                " grant usage on schema public to refresh_page; grant select on all tables in schema public to refresh_page;"
                " alter default privileges in schema public grant select on tables to refresh_page"
            )
        values = {"host": "warehouse", "port": "5432", "dbname": "dwh", "user": "refresh_page", "password": PAGE_PASSWORD}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "warehouse-page"}, "stringData": values}
        self.kubectl.apply(json.dumps(secret))

    def uninstall_operator(self) -> None:
        """`helm uninstall`."""
        command = [
            self.helm,
            f"--kubeconfig={self.kubectl.kubeconfig}",
            f"--namespace={self.kubectl.namespace}",
            "uninstall",
            RELEASE,
            "--wait",
        ]
        subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    def request_run(self, refresh: str, token: str, mode: str | None = None) -> None:
        """Ask for one run, as users do; without a mode, the refresh's annotation stands as it is."""
        modes = [f"dashboards.sigeti.io/runMode={mode}"] if mode else []
        self.kubectl("annotate", "--overwrite", "dashboardrefresh", refresh, f"dashboards.sigeti.io/requestedAt={token}", *modes)

    def status(self, refresh: str) -> dict[str, Any]:
        """The refresh's status, as it is now."""
        status: dict[str, Any] = self.kubectl.json("dashboardrefresh", refresh).get("status", {})
        return status

    def finished(self, refresh: str, token: str, within: float = 300) -> dict[str, Any]:
        """Wait for the run that the token asked for to be over; return its entry in the history."""

        def job(seen: dict[str, Any]) -> str | None:
            asked = seen["metadata"].get("annotations", {}).get("dashboards.sigeti.io/token") == token
            return seen["metadata"]["name"] if asked else None

        with self._told(refresh):
            started = self.kubectl.watched("jobs", "-l", f"dashboards.sigeti.io/refresh={refresh}", until=job, within=60)
        return self.concluded(refresh, started, within)

    def concluded(self, refresh: str, job: str, within: float = 300) -> dict[str, Any]:
        """Wait until the operator has concluded the run of that Job; return its entry in the history."""

        def entry(seen: dict[str, Any]) -> dict[str, Any] | None:
            return next((run for run in seen.get("status", {}).get("history", []) if run["id"] == job), None)

        with self._told(refresh):
            return self.kubectl.watched("dashboardrefresh", refresh, until=entry, within=within)

    @contextmanager
    def _told(self, refresh: str) -> Iterator[None]:
        try:
            yield
        except KubectlError as error:
            raise KubectlError(f"{error}\n{self.story(refresh)}") from None

    def summary(self, dashboard: str) -> dict[str, Any]:
        """What the dashboard API answers for one of the four dashboards."""
        answer: dict[str, Any] = json.loads(self._proxy("dashboard-api:8000", f"api/{dashboard}/summary"))
        return answer

    @contextmanager
    def warehouse_away(self) -> Iterator[None]:
        """Nobody answers at the warehouse's address until the block is left; its data stay."""
        self._route("warehouse", "nobody")
        try:
            yield
        finally:
            self._route("warehouse", "warehouse")

    def _route(self, service: str, app: str) -> None:
        """Send a Service to the pods of an app, and wait until its endpoints say so."""
        self.kubectl("patch", "service", service, "-p", json.dumps({"spec": {"selector": {"app": app}}}))
        label = f"kubernetes.io/service-name={service}"

        def addresses() -> int:
            slices = self.kubectl.json("endpointslices", "-l", label)["items"]
            return sum(len(one.get("endpoints") or []) for one in slices)

        eventually(lambda: (addresses() > 0) == (app == service), within=60)

    @contextmanager
    def slow(self, table: str, seconds: int) -> Iterator[None]:
        """Whoever reads the table waits that long, until the block is left; views on it are dropped then."""
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
    def locked(self, table: str) -> Iterator[int]:
        """Somebody has locked the table, in a transaction that has no end until the block is left; gives the session's number."""
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

    def inbox(self) -> list[dict[str, Any]]:
        """The messages that came by Slack and mail, oldest first."""
        messages: list[dict[str, Any]] = json.loads(self._proxy("inbox:http", "messages"))
        return messages

    def _proxy(self, service: str, path: str) -> str:
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.kubectl.namespace}/services/{service}/proxy/{path}")

    def job_of(self, refresh: str, token: str) -> str | None:
        """Name of the Job that answers the token, once there is one."""
        jobs = self.kubectl.json("jobs", "-l", f"dashboards.sigeti.io/refresh={refresh}")["items"]
        found = [job for job in jobs if job["metadata"].get("annotations", {}).get("dashboards.sigeti.io/token") == token]
        return found[0]["metadata"]["name"] if found else None

    def story(self, refresh: str) -> str:
        """What a person would look at when a refresh does not do what it should."""
        logs = self.kubectl.attempt("logs", "--tail=40", "-l", f"dashboards.sigeti.io/refresh={refresh}", "--all-containers").stdout
        operator = self.kubectl.attempt("logs", "--tail=40", f"deployment/{RELEASE}").stdout
        return f"{self.kubectl.story(f'dashboardrefresh/{refresh}')}\n--- runner\n{logs}\n--- operator\n{operator}"


def _psql(*options: str, name: str = "psql") -> list[str]:
    """kubectl's words for psql in the warehouse's pod, in a session of this name."""
    return ["exec", "deployment/warehouse", "--", "env", "PGHOST=127.0.0.1", f"PGAPPNAME={name}", "refresh-examples", "psql", *options]
