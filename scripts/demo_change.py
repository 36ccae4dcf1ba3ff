"""`make demo-change`: change a model in the demo's Git repository, run its refresh, and show the rows that changed. Requires `make demo`.

The model is mart_encaissements_mensuels: the mean number of days until payment is rounded to whole days, or exact again by the next call.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError
from cluster.seam import cluster_of
from demo import GIT_PORT, MAIN, PROJECT, show, watch
from support.eventually import NotYet
from support.git_in_cluster import clone
from support.git_server import GitError
from support.installation import ROOT, Installation
from support.kubectl import KubectlError

TREE: Final = ROOT / ".state" / "git"
MODEL: Final = f"{PROJECT.name}/models/marts/financier/mart_encaissements_mensuels.sql"
MART: Final = "dwh_marts_financier.mart_encaissements_mensuels"
EXACT: Final = "round(avg(delai_jours) filter (where montant >= 0), 2)"
WHOLE: Final = "round(avg(delai_jours) filter (where montant >= 0))::numeric(10, 2)"
QUERY: Final = f"select zone_id, annee, mois, delai_moyen_jours from {MART} order by annee desc, mois desc, zone_id"
SHOWN: Final = 5
"""Maximum number of rows to show."""
Rows = dict[str, str]
"""Value of each row, by zone, year and month."""


def change(model: Path) -> str:
    """Change the model, or change it back; return a message for the commit. GitError if the model contains neither version."""
    text = model.read_text()
    for old, new, message in ((EXACT, WHOLE, "Round the days until payment"), (WHOLE, EXACT, "Show the days until payment exactly")):
        if old in text:
            model.write_text(text.replace(old, new))
            return message
    raise GitError(f"{model} does not contain {EXACT}; to restore it, remove {TREE} and run `make demo`")


def rows_of(installation: Installation) -> Rows:
    """Return the live rows of the mart, newest first."""
    lines = installation.psql(QUERY, "-At", "-F", " ").splitlines()
    return {key: value for key, _, value in (line.rpartition(" ") for line in lines)}


def compared(before: Rows, after: Rows) -> str:
    """Return the number of rows that differ, and the newest of them."""
    keys = [key for key in after if before.get(key) != after[key]]
    table = [("zone year month", "before", "after"), *((key, before.get(key, ""), after[key]) for key in keys[:SHOWN])]
    lines = [f"{name:<18}{old:>10}{new:>10}" for name, old, new in table]
    return "\n".join([f"{len(keys)} of {len(after)} rows changed, the newest are:", *lines])


def revision(installation: Installation) -> str:
    """Return the revision of the dbt project in the last run of main; KubectlError if it was not from Git."""
    project = installation.status(MAIN).get("run", {}).get("project")
    if not project:
        raise KubectlError(f"the last run of {MAIN} did not take its dbt project from Git: run make demo")
    return str(project["revision"])


def finished(installation: Installation, token: str) -> str:
    """Return the revision of the dbt project in a requested run."""
    job = installation.job_of(MAIN, token)
    history = installation.status(MAIN)["history"]
    return next((str(run.get("revision")) for run in history if run["id"] == job), "unknown")


def main() -> int:
    """Change the model, run main and show what changed; return 1 unless the run succeeds with the new commit."""
    cluster = cluster_of("demo")
    if not cluster.alive():
        raise ClusterError("the demo does not run", "make demo")
    installation = Installation.in_cluster(cluster)
    before, rows = revision(installation), rows_of(installation)
    cloned = clone(installation, cluster, TREE, GIT_PORT)
    message = change(TREE / MODEL)
    commit = cloned.commit(message, MODEL)
    place = TREE.relative_to(ROOT)
    show(f"git -C {place} push", f"pushed to the branch main: {message}")
    show(f"git -C {place} show --unified=0", cloned.show())
    print(flush=True)
    token = f"change-{int(time.time())}"
    outcome = watch(installation, MAIN, token)
    after = finished(installation, token)
    show(f"kubectl get dr {MAIN} -o jsonpath='{{.status.run.project.revision}}'", f"before: {before}\nafter:  {after}")
    show(f"select zone_id, annee, mois, delai_moyen_jours from {MART}", compared(rows, rows_of(installation)))
    print(f"\nThe clone is {place}. To change a model by hand: edit it there, `git commit -a`, `git push`, and request a run.")
    return 0 if outcome in ("Succeeded", "Warned") and after.endswith(f":{commit}") else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, KubectlError, GitError, NotYet) as error:
        print(f"demo-change: {error}", file=sys.stderr)
        sys.exit(1)
