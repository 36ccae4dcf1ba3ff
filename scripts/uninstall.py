"""`make clean CLUSTER=existing`: remove what `make demo` installed from the cluster of KUBECONFIG."""

from __future__ import annotations

import os
import sys

from cluster.errors import ClusterError
from cluster.existing import ExistingCluster
from cluster.paths import paths_of
from support.installation import Installation
from support.kubectl import Kubectl, KubectlError


def main() -> int:
    """Remove the demo. Objects without its label are kept."""
    paths = paths_of(os.environ)
    cluster = ExistingCluster(paths, "demo", os.environ)
    cluster.up()
    kubectl = Kubectl(cluster.kubeconfig, program=str(paths.tools / "kubectl"))
    removed = Installation(kubectl, str(paths.tools / "helm"), {}).remove_demo()
    print("\n".join(removed) if removed else f"clean: the demo is not installed in namespace {kubectl.namespace}")
    cluster.down()
    print("clean: the CRD stays, since deleting it deletes every refresh in every namespace: kubectl delete -f crds/")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, KubectlError) as error:
        print(f"clean: {error}", file=sys.stderr)
        sys.exit(1)
