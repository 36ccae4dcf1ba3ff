"""`kubectl dashboardrefresh logs` on a real API server, which gets the logs of containers from a node that the test plays."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.certificates import create_certificate
from support.eventually import eventually
from support.operator_harness import OperatorHarness
from support.plugin import plugin

Json = dict[str, Any]
NODE = "logs-node"
PROJECT = {"git": {"url": "https://git.example.org/data/velos.git", "secretRef": {"name": "repository"}}}


class Node:
    """A node with the part of a kubelet that returns logs: one line for each container, and its end when that is told."""

    def __init__(self, certificate: Any) -> None:
        self.lines: dict[tuple[str, str], str] = {}
        self.ended = threading.Event()
        self.ended.set()
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                _, _, _, pod, container = path.split("/")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(node.lines.get((pod, container), f"log of {container}\n").encode())
                self.wfile.flush()
                if "follow=true" in query:
                    node.ended.wait(20)

            def log_message(self, format: str, *_arguments: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def operator(create_operator: Any) -> Iterator[OperatorHarness]:
    """An operator that allows the repository."""
    found: OperatorHarness = create_operator(PROJECTS_ALLOWED_URLS="https://git.example.org/data/*")
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def node(operator: OperatorHarness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of the API server."""
    found = Node(create_certificate(tmp_path_factory.mktemp("node") / "tls.pem"))
    operator.api.create("", "nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    status = {
        "addresses": [{"type": kind, "address": "127.0.0.1"} for kind in ("InternalIP", "Hostname")],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": found.port}},
    }
    operator.api.patch("", "nodes", NODE, {"status": status}, status=True)
    yield found
    operator.api.delete("", "nodes", NODE)
    found.close()


def container(name: str, **state: Json) -> Json:
    return {"name": name, "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}


DONE = {"terminated": {"exitCode": 0}}
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
WAITING = {"waiting": {"reason": "PodInitializing"}}


def started(operator: OperatorHarness, name: str, **spec: Any) -> tuple[str, str]:
    """Request a run, bind its pod to the node, and return the run and the pod."""
    operator.create_refresh(name, token="one", retries=0, **spec)
    run = operator.wait_for_job(name)
    pod = operator.wait_for_pod(run)["metadata"]["name"]
    operator.wait_for(lambda: operator.status(name).get("active"), 20, name)
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": NODE}}
    operator.api.create(operator.namespace, f"pods/{pod}/binding", binding)
    return run, pod


def set_containers(operator: OperatorHarness, pod: str, phase: str, project: Json | None, runner: Json) -> None:
    status = {"phase": phase, "containerStatuses": [container("runner", **runner)]}
    if project:
        status["initContainerStatuses"] = [container("project", **project)]
    operator.api.patch(operator.namespace, "pods", pod, {"status": status}, status=True)


@pytest.mark.usefixtures("node")
def test_both_containers_of_a_run_with_a_project_are_shown(operator: OperatorHarness) -> None:
    """In the order in which they ran, each line with the container that wrote it. The log of an image's project has no prefix."""
    _, pod = started(operator, "velos", project=PROJECT)
    set_containers(operator, pod, "Running", DONE, {"running": {}})
    shown = plugin(operator, "logs", "velos")
    assert (shown.returncode, shown.stdout) == (0, f"[pod/{pod}/project] log of project\n[pod/{pod}/runner] log of runner\n"), shown.stderr
    _, pod = started(operator, "baked")
    set_containers(operator, pod, "Running", None, {"running": {}})
    assert plugin(operator, "logs", "baked").stdout == "log of runner\n"


def test_the_log_of_a_fetch_that_was_killed_is_shown(operator: OperatorHarness, node: Node) -> None:
    """The runner never began, and has no log. Nor does following wait for it."""
    run, pod = started(operator, "killed", project=PROJECT)
    node.lines[pod, "project"] = "retrying: the server cannot be reached\n"
    set_containers(operator, pod, "Failed", KILLED, WAITING)
    operator.wait_for_history("killed", run)
    for words in ((), ("--follow",)):
        shown = plugin(operator, "logs", "killed", *words)
        assert (shown.returncode, shown.stdout) == (0, f"[pod/{pod}/project] retrying: the server cannot be reached\n"), shown.stderr
        assert "container runner has not started" in shown.stderr


def test_following_goes_on_with_the_runner(operator: OperatorHarness, node: Node) -> None:
    """The runner's log begins after the project is fetched."""
    run, pod = started(operator, "followed", project=PROJECT)
    set_containers(operator, pod, "Pending", {"running": {}}, WAITING)
    node.ended.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(plugin, operator, "logs", "followed", "-f")
        assert not call.done()
        set_containers(operator, pod, "Running", DONE, {"running": {}})
        node.ended.set()
        operator.end_pod(run)
        shown: subprocess.CompletedProcess[str] = call.result(40)
    assert shown.stdout == f"[pod/{pod}/project] log of project\n[pod/{pod}/runner] log of runner\n", shown.stderr


@pytest.mark.usefixtures("node")
def test_a_run_without_a_pod_says_where_its_log_is(operator: OperatorHarness) -> None:
    """Kubernetes keeps the last Jobs only."""
    run, pod = started(operator, "gone")
    operator.end_pod(run)
    operator.wait_for_history("gone", run)
    operator.api.delete(operator.namespace, "jobs", run)
    eventually(lambda: operator.api.get(operator.namespace, "pods", pod) is None, within=20)
    shown = plugin(operator, "logs", "gone")
    assert shown.returncode == 2
    assert f"run {run} has no pod any more" in shown.stderr
    assert f"kubectl dashboardrefresh artifacts gone {run}" in shown.stderr
