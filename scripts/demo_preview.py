"""`make demo-preview`: show what a change of a model would do, before readers see it. Requires `make demo`.

The change is that of `make demo-change`, pushed to a branch. The preview runs by a role of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from cluster.errors import ClusterError
from cluster.seam import cluster_of
from demo import GIT_PORT, MAIN, PROJECT, show
from demo_change import MART, MODEL, QUERY, TREE, change
from refresh_api.preview_report import DIFFERS
from support.eventually import NotYet
from support.git_clone import Clone
from support.git_in_cluster import clone
from support.git_server import GitError, git
from support.installation import ROOT, SAMPLES, Installation
from support.kubectl import KubectlError
from support.laptop import say
from support.preview_role import PreviewRole, allow_previews

BRANCH: Final = "round-days"
ROLE: Final = PreviewRole("apercu", "warehouse-preview", "dwh", "dbt")


def push_branch(cloned: Clone) -> str:
    """Push the changed model to the branch; return the message of its commit. The working tree stays on main."""
    git(cloned.tree, "checkout", "--quiet", "-B", BRANCH)
    try:
        message = change(cloned.tree / MODEL)
        git(cloned.tree, "commit", "--quiet", "--message", message, "--", MODEL)
        git(cloned.tree, "push", "--quiet", "--force", "origin", f"HEAD:{BRANCH}")
    finally:
        git(cloned.tree, "checkout", "--quiet", "--force", "main")
    return message


def main() -> int:
    """Preview the change; return 1 unless it differs and the live mart is what it was."""
    cluster = cluster_of("demo")
    if not cluster.alive():
        raise ClusterError("the demo does not run", "make demo")
    installation = Installation.in_cluster(cluster)
    say(f"a role for previews, its Secret, and spec.preview of {MAIN}")
    allow_previews(installation, MAIN, ROLE, SAMPLES / "main.yaml", PROJECT)
    cloned = clone(installation, cluster, TREE, GIT_PORT)
    message = push_branch(cloned)
    show(f"git -C {TREE.relative_to(ROOT)} push", f"pushed to the branch {BRANCH}: {message}")
    before = installation.psql(QUERY, "-At")
    options = ["-n", installation.kubectl.namespace, f"--kubeconfig={installation.kubectl.kubeconfig}"]
    command = [sys.executable, "-m", "refresh_cli", "preview", MAIN, "--branch", BRANCH]
    print(f"\n$ kubectl dashboardrefresh preview {MAIN} --branch {BRANCH}", flush=True)
    code = subprocess.run([*command, *options], env={**os.environ, "KUBECTL": installation.kubectl.program}, check=False).returncode
    show("kubectl get refreshpreviews", installation.kubectl("get", "refreshpreviews"))
    is_same = installation.psql(QUERY, "-At") == before
    print(f"\nThe live rows of {MART} are {'unchanged' if is_same else 'different now'}.")
    print("To push the change to main and run it: make demo-change")
    return 0 if code == DIFFERS and is_same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, KubectlError, GitError, NotYet) as error:
        print(f"demo-preview: {error}", file=sys.stderr)
        sys.exit(1)
