"""What demo and end-to-end tests install by helm: a failure is reported in helm's words."""

from pathlib import Path

import pytest

from cluster.embedded.components import kubeconfig
from cluster.ports import free_port
from support.installation import HelmError, Installation
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
