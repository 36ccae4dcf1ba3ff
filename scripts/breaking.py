"""`make break`: inject five faults into the running demo, show what people see of each, and repair them.

Meanwhile a reader checks that the live marts stay consistent. Requires `make demo`; takes less than three minutes.
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import yaml
from psycopg.conninfo import make_conninfo

from cluster.errors import ClusterError
from cluster.seam import Cluster, cluster_of
from demo import MAIN, PAGE_PORT, PHASE2, show
from reader import Reader
from support.eventually import NotYet, eventually
from support.installation import RELEASE, SAMPLES, Installation
from support.kubectl import KubectlError
from support.laptop import say

SLOT = "every-minute"
"""The small refresh that is due while the operator is down."""
MARGIN = 25
"""Seconds before its scheduled time in which no other fault starts."""
MINUTE = 60
KILL = "import os, pathlib; os.kill(int(next(pathlib.Path('/data/warehouse').rglob('postmaster.pid')).read_text().split()[0]), 9)"
NEW_RECORDS = (
    """insert into sigeti.indemnisations
       (indemnisation_id, zone_id, beneficiaire, type_bien, montant_du, montant_paye, date_evaluation, numero_ligne, updated_at)
       select max(indemnisation_id) + 1, min(zone_id), 'make break', 'terre', 1000, 0, current_date, max(numero_ligne) + 1, now()
       from sigeti.indemnisations""",
    """insert into sigeti.emplois
       (emploi_id, zone_id, entreprise_id, date_declaration, type_contrat, sexe, nb_prevus, nb_crees, numero_ligne, updated_at)
       select max(emploi_id) + 1, min(zone_id), min(entreprise_id), current_date, 'CDI', 'F', 1, 1, max(numero_ligne) + 1, now()
       from sigeti.emplois""",
)
"""These change two marts, so that a reader would notice a mixture of versions."""


@dataclass(frozen=True)
class Night:
    """The faults, on the demo's installation."""

    installation: Installation
    page: str
    """URL of the page."""

    def broken_model(self) -> None:
        """Rename a column that a model reads: the run fails, and live data do not change."""
        self._headline("broken model: the column sigeti.indemnisations.montant_du is renamed")
        with self._renamed("sigeti.indemnisations", "montant_du", "montant"):
            done = self._run("broken-model")
        self._seen(f"Failed, {done['reason']}: {done['message'][:200]}", expected=done["outcome"] == "Failed")

    def api_down(self) -> None:
        """Stop the dashboards' API: the cache step warns."""
        self._headline("API down: dashboard-api is scaled to 0, and a run of the cache step is requested")
        with self._scaled("dashboard-api", 0):
            done = self._run("api-down", mode="only=cache")
        self._seen(f"{done['outcome']}: {done.get('message', '')[:200]}", expected=done["outcome"] == "Warned")

    def edited_cronjob(self) -> None:
        """Edit the CronJob: the operator corrects it."""
        self._headline(f"CronJob edited by hand: {PHASE2} would run once a year")
        self.installation.kubectl("patch", "cronjob", PHASE2, "--type=merge", '-p={"spec":{"schedule":"0 0 1 1 *"}}')
        wanted = self.installation.kubectl.json("dr", PHASE2)["spec"]["schedule"]
        schedule = eventually(lambda: self._schedule() == wanted and wanted, within=20)
        told = self.installation.kubectl("get", "events", "--field-selector=reason=DriftCorrected", "-o=jsonpath={.items[-1:].message}")
        self._seen(f"its schedule is {schedule} again; event DriftCorrected: {told}")

    def operator_killed(self) -> None:
        """Stop the operator over a scheduled time: the run starts and reports, and the operator records it later."""
        self._headline(f"operator down: it is killed and stays down over the next scheduled time of {SLOT}")
        self._suspend(SLOT, False)
        with self._scaled(RELEASE, 0, force=True):
            gone = datetime.now(UTC)
            job = eventually(lambda: self._run_since(gone), within=2 * MINUTE, every=0.5, context=lambda: self.installation.describe(SLOT))
            say(f"run {job} started on schedule and has ended without an operator")
        done = self.installation.wait_for_history(SLOT, job)
        self._seen(f"the operator is up and has recorded the run: {done['outcome']} after {done.get('duration')}", SLOT)

    def postgres_killed(self) -> None:
        """Kill PostgreSQL during a run: the next attempt continues where the first one stopped."""
        self._headline("PostgreSQL killed (kill -9) during a run that has new data to publish")
        for statement in NEW_RECORDS:
            self.installation.psql(statement)
        token = self._ask("postgres-killed")
        eventually(lambda: self._step().startswith(("2/", "3/")), within=90, context=lambda: self.installation.describe(PHASE2))
        step = self._step()
        self.installation.kubectl("exec", "deployment/warehouse", "--", "python3", "-c", KILL)
        say(f"killed at {step}")
        done = self.installation.wait_for_run(PHASE2, token)
        self._seen(
            f"{done['outcome']} with {done.get('marts')} marts at attempt {done['attempts']}", expected=done["outcome"] == "Succeeded"
        )

    def _run(self, token: str, mode: str | None = None) -> dict[str, str]:
        done = self.installation.wait_for_run(PHASE2, self._ask(token, mode))
        if mode:
            self.installation.kubectl("annotate", "dr", PHASE2, "dashboards.sigeti.io/runMode-")
        return done

    def _ask(self, token: str, mode: str | None = None) -> str:
        token = f"{token}-{int(time.time())}"
        self.installation.request_run(PHASE2, token, mode)
        return token

    def _step(self) -> str:
        run = self.installation.status(PHASE2).get("run", {})
        return str(run.get("step") or "") if run.get("phase") == "Running" else ""

    def _schedule(self) -> str:
        return str(self.installation.kubectl.json("cronjob", PHASE2)["spec"]["schedule"])

    def _run_since(self, moment: datetime) -> str | None:
        """Return the name of a succeeded Job of the small refresh that was created after a time, or None."""
        jobs = self.installation.kubectl.json("jobs", "-l", f"dashboards.sigeti.io/refresh={SLOT}")["items"]
        made = {
            job["metadata"]["name"]: datetime.fromisoformat(job["metadata"]["creationTimestamp"])
            for job in jobs
            if job["status"].get("succeeded")
        }
        return next((name for name, when in made.items() if when > moment), None)

    def _suspend(self, refresh: str, suspended: bool) -> None:
        self.installation.kubectl("patch", "dr", refresh, "--type=merge", "-p", json.dumps({"spec": {"suspend": suspended}}))
        eventually(lambda: self.installation.kubectl.json("cronjob", refresh)["spec"]["suspend"] == suspended, within=20)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Suspend the main pipeline within the block."""
        before = self.installation.kubectl.json("dr", MAIN)["spec"]["suspend"]
        self._suspend(MAIN, True)
        try:
            yield
        finally:
            self._suspend(MAIN, before)

    @contextmanager
    def _renamed(self, table: str, column: str, other: str) -> Iterator[None]:
        self.installation.psql(f"alter table {table} rename column {column} to {other}")
        try:
            yield
        finally:
            self.installation.psql(f"alter table {table} rename column {other} to {column}")

    @contextmanager
    def _scaled(self, deployment: str, replicas: int, force: bool = False) -> Iterator[None]:
        """Scale a deployment within the block; then restore its replicas and wait until they are ready."""
        before = self.installation.kubectl.json("deployment", deployment)
        selector = ",".join(f"{key}={value}" for key, value in before["spec"]["selector"]["matchLabels"].items())
        self.installation.kubectl("scale", f"deployment/{deployment}", f"--replicas={replicas}")
        if force:
            self.installation.kubectl("delete", "pod", "-l", selector, "--grace-period=0", "--force")
        eventually(lambda: len(self.installation.kubectl.names("pods", "-l", selector)) == replicas, within=60)
        try:
            yield
        finally:
            self.installation.kubectl("scale", f"deployment/{deployment}", f"--replicas={before['spec']['replicas']}")
            self.installation.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=60s", timeout=90)

    def _page_says(self, refresh: str) -> str:
        """Return what the page's overview shows of a refresh: the age of its data, and its issues."""
        lines = httpx.get(f"{self.page}/index.json", timeout=10, trust_env=False).raise_for_status().json()["refreshes"]
        health = next((line["health"] for line in lines if line["name"] == refresh), None)
        if health is None:
            return "not on the page yet"
        return f"{health['tone']}, {', '.join([health['data'], *map(_described, health['issues'])])}"

    def _headline(self, text: str) -> None:
        print(flush=True)
        say(text)

    def _seen(self, says: str, refresh: str = PHASE2, expected: bool = True) -> None:
        """Show what people see now; KubectlError if the fault should look different."""
        show(f"kubectl get dashboardrefresh {refresh}", self.installation.kubectl("get", "dashboardrefresh", refresh))
        print(f"{self.page}/refreshes/{self.installation.kubectl.namespace}/{refresh}: {self._page_says(refresh)}")
        say(says)
        if not expected:
            raise KubectlError(f"unexpected outcome\n{self.installation.describe(refresh)}")


def _described(issue: Mapping[str, str | None]) -> str:
    """Return an issue of the page in a few words, with its run if there are two."""
    of = {"full": " (last full run)", "part": f" (later run, {issue.get('mode')})"}
    return f"{issue['reason']}{of.get(issue.get('scope') or '', '')}"


def reader_of(installation: Installation, cluster: Cluster) -> Reader:
    """Return a reader of phase 2's marts that connects to the warehouse through a local port."""
    spec = installation.kubectl.json("dr", PHASE2)["spec"]
    secret = {
        key: b64decode(value).decode()
        for key, value in installation.kubectl.json("secret", spec["warehouse"]["secretRef"]["name"])["data"].items()
    }
    port = cluster.expose("warehouse", installation.kubectl.namespace, 5432)
    dsn = make_conninfo(host="127.0.0.1", port=port, dbname=secret["dbname"], user=secret["user"], password=secret["password"])
    return Reader(dsn, PHASE2, tuple(mart["relation"] for mart in spec["validation"]["marts"]))


@contextmanager
def small_refresh(installation: Installation) -> Iterator[None]:
    """Create a refresh that runs every minute and builds one view; delete it after the block."""
    refresh = yaml.safe_load((SAMPLES / "phase2.yaml").read_text())
    refresh["metadata"] = {"name": SLOT}
    layer = {"name": "staging", "select": ["stg_implantations"]}
    refresh["spec"] = {"schedule": "* * * * *", "warehouse": refresh["spec"]["warehouse"], "layers": [layer], "suspend": True}
    installation.kubectl.apply(json.dumps(refresh))
    try:
        yield
    finally:
        installation.kubectl("delete", "dr", SLOT, "--wait=false")


def tour(night: Night) -> None:
    """Inject all faults that readers must not notice. Those that need no schedule fill the time until the scheduled one."""
    anywhere: list[Callable[[], None]] = [night.broken_model, night.api_down, night.edited_cronjob]
    anywhere.pop(0)()
    while anywhere and MINUTE - datetime.now(UTC).second > MARGIN:
        anywhere.pop(0)()
    night.operator_killed()
    for fault in anywhere:
        fault()


def main() -> int:
    """Break the demo and repair it; return 1 if the reader saw a mixture of versions, or nothing."""
    began = time.monotonic()
    cluster = cluster_of("demo")
    if not cluster.alive():
        raise ClusterError("the demo does not run", "make demo")
    installation = Installation.in_cluster(cluster)
    port = cluster.expose(f"{RELEASE}-page", installation.kubectl.namespace, 80, PAGE_PORT)
    night = Night(installation, f"http://127.0.0.1:{port}")
    with reader_of(installation, cluster) as reader, small_refresh(installation), night.alone():
        tour(night)
        before = reader.errors
        # last, because a successful run ends it
        night.postgres_killed()
    show("kubectl get dashboardrefresh", installation.kubectl("get", "dashboardrefresh"))
    print(f"\nA reader of the four marts meanwhile: {reader}; {reader.errors - before} of the errors while PostgreSQL was down.")
    print(f"Everything is repaired after {time.monotonic() - began:.0f} s.")
    return 1 if reader.mixed or not reader.reads else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, KubectlError, NotYet, httpx.HTTPError) as error:
        print(f"break: {error}", file=sys.stderr)
        sys.exit(1)
