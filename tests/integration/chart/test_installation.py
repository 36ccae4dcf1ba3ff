"""Installation by helm in demo and end-to-end tests: a failure is reported with helm's message."""

import subprocess
from pathlib import Path

import pytest

from cluster.embedded.components import kubeconfig
from cluster.ports import free_port
from support.installation import CHART, DEMO_LABEL, EXAMPLES, RELEASE, HelmError, Installation
from support.kubectl import Kubectl, KubectlError

_IMAGES = {f"refresh-{part}": f"refresh-{part}:0" for part in ("operator", "runner", "page")}


def test_a_failing_helm_is_an_error_with_its_message(helm: Path, kubectl: Kubectl) -> None:
    """The demo ended with a traceback, since it catches errors of kubectl and of the cluster only; the chart refuses this value."""
    with pytest.raises(HelmError, match=r"(?s)helm upgrade: .*replicas"):
        Installation(kubectl, str(helm), _IMAGES).install_operator("page.replicas=none")
    assert issubclass(HelmError, KubectlError)


def test_a_cluster_that_does_not_answer_is_named_by_helm(helm: Path, tmp_path: Path) -> None:
    """Uninstalling ended with a traceback as well."""
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(kubeconfig(f"https://127.0.0.1:{free_port()}", "nobody", b"", b"", b"", "nowhere"))
    with pytest.raises(HelmError, match="helm uninstall: "):
        Installation(Kubectl(nowhere), str(helm), _IMAGES).uninstall_operator()


@pytest.mark.slow
def test_the_demo_is_removed_by_its_label_and_nothing_else(helm: Path, kubectl: Kubectl) -> None:
    """On an existing cluster a Secret or a Deployment of the same kind is the user's, and so is a release that the demo did not make."""
    theirs = kubectl.within("with-demo")
    kubectl("create", "namespace", "with-demo")
    theirs("create", "secret", "generic", "theirs", "--from-literal=password=x")
    installation = Installation(theirs, str(helm), _IMAGES)
    install = [str(helm), f"--kubeconfig={theirs.kubeconfig}", "--namespace=with-demo", "install", RELEASE, str(CHART)]
    subprocess.run(install, capture_output=True, check=True, timeout=60)
    assert installation.remove_demo() == []
    assert f"deployment.apps/{RELEASE}" in theirs.names("deployments")
    installation.uninstall_operator()

    for file in sorted(EXAMPLES.glob("*.yaml")):
        theirs.apply(file)
    assert len(theirs.names("deployments,services,secrets", "-l", DEMO_LABEL)) == 12
    subprocess.run([*install, f"--labels={DEMO_LABEL}"], capture_output=True, check=True, timeout=60)
    assert len(installation.remove_demo()) == 13
    assert theirs.names("deployments,services,secrets") == ["secret/theirs"]
    kubectl("delete", "namespace", "with-demo", "--wait=false")
