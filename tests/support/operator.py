"""Fixtures with the operator on a real control plane."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cluster.embedded.binaries import HELM_PROGRAM, build, link_tools
from cluster.embedded.control_plane import ControlPlane
from cluster.paths import paths_of
from support.apiserver import ApiServer
from support.control_plane import HAS_ADMISSION_POLICY
from support.eventually import eventually
from support.kubectl import Kubectl
from support.operator_harness import POLICY, OperatorHarness
from support.snapshots import ROOT

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm program."""
    return build(HELM_PROGRAM, paths_of(os.environ).cache)


@contextmanager
def operator_of(plane: ControlPlane, crds: Path, helm: Path, folder: Path, **settings: str) -> Iterator[OperatorHarness]:
    """An operator, not started, on a control plane of its own with these CRDs; plane and operator end with the block."""
    plane.up(owner=os.getpid())
    try:
        link_tools(folder, plane.kube)
        kubectl = Kubectl(plane.kubeconfig, program=str(folder / "kubectl"))
        kubectl("create", "-f", str(crds))
        eventually(lambda: kubectl.attempt("get", "dr").returncode == 0, within=30)
        api = ApiServer(plane.kubeconfig, folder)
        operator = OperatorHarness(api, kubectl.within("alone"), helm, folder, settings)
        operator.prepare()
        yield operator
        operator.stop(signal.SIGKILL)
        api.close()
    finally:
        plane.down()


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The administrator's client of the control plane."""
    connection = ApiServer(control_plane.kubeconfig, tmp_path_factory.mktemp("admin"))
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """The administrator's kubectl."""
    tools = tmp_path_factory.mktemp("tools")
    link_tools(tools, control_plane.kube)
    return Kubectl(control_plane.kubeconfig, program=str(tools / "kubectl"))


@pytest.fixture(scope="session")
def contract(kubectl: Kubectl) -> Kubectl:
    """kubectl on a control plane that has the CRD."""
    kubectl("apply", "-f", str(ROOT / "crds"))
    eventually(lambda: kubectl.attempt("get", "dr").returncode == 0, within=30)
    return kubectl


@pytest.fixture(scope="session")
def installed_operators(
    contract: Kubectl, api: ApiServer, helm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., OperatorHarness]:
    """Return a function that installs an operator in a new namespace, from chart values and settings."""
    home = tmp_path_factory.mktemp("operators")

    def install(*values: str, **settings: str) -> OperatorHarness:
        operator = OperatorHarness(api, contract.within(f"operator-{next(_numbers)}"), helm, home, settings)
        operator.prepare(*values)
        return operator

    return install


@pytest.fixture(scope="module")
def create_operator(installed_operators: Callable[..., OperatorHarness]) -> Iterator[Callable[..., OperatorHarness]]:
    """The same; all operators are stopped after the tests of the module, since even an idle one uses CPU time."""
    with ExitStack() as stack:

        def create(*values: str, **settings: str) -> OperatorHarness:
            operator = installed_operators(*values, **settings)
            stack.callback(operator.stop)
            return operator

        yield create


@pytest.fixture(scope="session")
def running_operator(installed_operators: Callable[..., OperatorHarness]) -> Iterator[OperatorHarness]:
    """An operator that runs for the whole session; each test uses refreshes with names of its own.

    It runs under the chart's admission policy where the API server knows that.
    """
    operator = installed_operators(*(POLICY if HAS_ADMISSION_POLICY else ()))
    operator.start()
    yield operator
    operator.stop()


@pytest.fixture
def fresh_operator(create_operator: Callable[..., OperatorHarness]) -> Iterator[OperatorHarness]:
    """An operator for this test only, installed but not started."""
    operator = create_operator()
    yield operator
    operator.stop()
