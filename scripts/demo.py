"""`make demo`: the whole product on a real cluster, with refreshes of two dbt projects that have run, and the next commands to try."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml

from cluster.errors import ClusterError
from cluster.seam import Cluster, cluster_of
from support.eventually import NotYet
from support.git_in_cluster import ALLOWED, create_secrets, project, push_folder
from support.git_in_cluster import NAME as GIT
from support.git_server import GitError
from support.installation import DEMO_LABEL, RELEASE, ROOT, SAMPLES, Installation
from support.kubectl import KubectlError
from support.laptop import say
from support.velos_in_cluster import NAME as VELOS
from support.velos_in_cluster import REPOSITORY as VELOS_REPOSITORY
from support.velos_in_cluster import deploy_velos, query
from support.velos_in_cluster import refresh as velos_refresh

ROWS = int(os.environ.get("ROWS", "10000"))
SEED = int(os.environ.get("SEED", "7"))
API_PORT = int(os.environ.get("API_PORT", "8000"))
PAGE_PORT = int(os.environ.get("PAGE_PORT", "4200"))
GIT_PORT = int(os.environ.get("GIT_PORT", "8443"))
PROJECT = ROOT / "dbt_project"
MAIN, PHASE2 = "main-pipeline", "phase2-dashboards-refresh"
QUERIES = (
    "SELECT * FROM dbt_refresh_log WHERE run_date >= NOW() - INTERVAL '24 hours' ORDER BY run_date DESC",
    "SELECT * FROM dbt_refresh_log ORDER BY run_date DESC LIMIT 1",
    "SELECT COUNT(*) FROM dwh_marts_operationnel.mart_implantation_suivi",
)
VELOS_QUERY = "SELECT * FROM velos_rapport.trajets_par_jour ORDER BY jour DESC, station_id LIMIT 3"


def show(title: str, text: str) -> None:
    """Print a command and its output."""
    print(f"\n$ {title}\n{text.rstrip()}", flush=True)


def watch(installation: Installation, refresh: str, token: str) -> str:
    """Request a run and print its steps as they happen; return its outcome."""
    request(installation, refresh, token)
    return follow(installation, refresh, token)


def request(installation: Installation, refresh: str, token: str) -> None:
    """Request a run."""
    installation.request_run(refresh, token)
    say(f"{refresh}: requested a run (annotation requestedAt={token})")


def follow(installation: Installation, refresh: str, token: str) -> str:
    """Print the steps of a requested run as they happen; return its outcome."""
    seen: set[tuple[str, str]] = set()
    end = time.monotonic() + 300
    while time.monotonic() < end:
        job, status = installation.job_of(refresh, token), installation.status(refresh)
        run = status.get("run", {})
        for number, step in enumerate(run.get("steps", []) if run.get("id") == job else [], 1):
            key = (step["name"], step["state"])
            if step["state"] != "Pending" and key not in seen:
                seen.add(key)
                say(f"{refresh}: {number}/{len(run['steps'])} {step['name']:<11} {step['state']:<9} {step.get('duration') or ''}")
        done = next((finished for finished in status.get("history", []) if finished["id"] == job), None)
        if done:
            say(f"{refresh}: {done['outcome']} after {done.get('duration')}: {done.get('message', '')}")
            return str(done["outcome"])
        time.sleep(0.3)
    raise KubectlError(f"{refresh}: timed out after 300 s\n{installation.describe(refresh)}")


def apply_refreshes(installation: Installation) -> None:
    """Apply the refreshes: main and the second project's take their dbt project from Git, phase 2 takes the one in the image."""
    main = yaml.safe_load((SAMPLES / "main.yaml").read_text())
    main["spec"]["project"] = project(PROJECT.name)
    say(installation.kubectl.apply(json.dumps(main)).strip())
    say(installation.kubectl.apply(SAMPLES / "phase2.yaml").strip())
    say(installation.kubectl.apply(json.dumps(velos_refresh())).strip())
    installation.kubectl("label", "--overwrite", "dashboardrefresh", MAIN, PHASE2, VELOS, DEMO_LABEL)


def present(installation: Installation, cluster: Cluster) -> None:
    """Print what users see, and the next commands to try."""
    show("kubectl get dashboardrefresh", installation.kubectl("get", "dashboardrefresh"))
    steps = "{range .status.run.steps[*]}{.name}{'\\t'}{.state}{'\\t'}{.duration}{'\\n'}{end}"
    show(f"kubectl get dr {PHASE2} -o jsonpath=…steps", installation.kubectl("get", "dr", PHASE2, "-o", f"jsonpath={steps}").expandtabs(14))
    revision = "jsonpath={.status.run.project.revision}"
    show(f"kubectl get dr {MAIN} -o {revision}", installation.kubectl("get", "dr", MAIN, "-o", revision))
    for statement in QUERIES:
        show(statement, installation.psql(statement))
    columns = "custom-columns=NAME:.metadata.name,PROJECT:.spec.project.git.url,WAREHOUSE:.spec.warehouse.secretRef.name"
    show(f"kubectl get dr -o {columns}", installation.kubectl("get", "dr", "-o", columns))
    show(f"{VELOS_QUERY}  -- in the database {VELOS}", query(installation, VELOS_QUERY))
    port = cluster.expose("dashboard-api", installation.kubectl.namespace, 8000, API_PORT)
    folder = Path(installation.kubectl.program).parent
    print(f"""
The cluster stays up. The page is at http://127.0.0.1:{PAGE_PORT}, the dashboards are at http://127.0.0.1:{port}. Next:

  export KUBECONFIG={installation.kubectl.kubeconfig} PATH={folder}:{Path(sys.executable).parent}:$PATH
  kubectl get dashboardrefresh -w
  kubectl dashboardrefresh status {PHASE2}
  kubectl annotate dr {PHASE2} --overwrite dashboards.sigeti.io/requestedAt=$(date +%s)
  kubectl describe dr {PHASE2}
  kubectl logs -l dashboards.sigeti.io/refresh={PHASE2} --tail=-1
  curl http://127.0.0.1:{port}/api/implantation-suivi/summary
  make demo-preview  # shows what a change of a model would do, before readers see it
  make demo-change   # changes that model in the Git repository of {MAIN}
  make clean         # removes everything
""")


def main() -> int:
    """Run the demo; return 1 unless both runs succeed."""
    cluster = cluster_of("demo")
    say(f"starting the cluster ({cluster.kind})")
    cluster.up()
    say("building images whose sources changed")
    installation = Installation.in_cluster(cluster)
    say("starting the warehouse, the dashboard API, the inbox and the Git server")
    create_secrets(installation)
    installation.deploy_warehouse_and_api(GIT)
    pushed = push_folder(installation, cluster, PROJECT, "Take the dbt project of the checkout", GIT_PORT)
    say(f"the Git server: {f'pushed {PROJECT.name}, commit {pushed}' if pushed else f'has {PROJECT.name} as it is'}")
    pushed = deploy_velos(installation, cluster, GIT_PORT)
    say(f"a second project: the database {VELOS}, and {VELOS_REPOSITORY} with {f'commit {pushed}' if pushed else 'the project as it is'}")
    if "t" not in installation.psql("select to_regclass('sigeti.factures') is not null", "-At"):
        say(f"source data: {ROWS:,} rows per source (seed {SEED})")
        installation.load_sources(ROWS, SEED, datetime.now(UTC).date().isoformat())
    say("helm install: operator and page")
    installation.create_page_role()
    page = ("page.enabled=true", f"page.url=http://127.0.0.1:{PAGE_PORT}", "page.warehouse.secretName=warehouse-page")
    installation.install_operator(ALLOWED, *page)
    say(f"the page: http://127.0.0.1:{cluster.expose(f'{RELEASE}-page', installation.kubectl.namespace, 80, PAGE_PORT)}")
    apply_refreshes(installation)
    token = f"demo-{int(time.time())}"
    request(installation, VELOS, token)  # in another warehouse, so it waits for none of the others
    outcomes = [watch(installation, refresh, token) for refresh in (MAIN, PHASE2)]
    outcomes.append(follow(installation, VELOS, token))
    present(installation, cluster)
    return 0 if set(outcomes) <= {"Succeeded", "Warned"} else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, KubectlError, GitError, NotYet) as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
