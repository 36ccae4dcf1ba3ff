"""Forwarded ports, with a program that listens as kubectl does."""

import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from cluster.forwards import Forwards
from cluster.preflight import is_ours
from cluster.processes import Processes
from support.eventually import eventually

LISTENER = """#!{python}
import http.server, sys
port = int(sys.argv[-1].split(":")[0])
http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_forwarded_port_is_the_same_again_and_its_whole_process_group_ends(tmp_path: Path) -> None:
    """Each forwarded port is one process group; no process is left after `close`."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(LISTENER.format(python=sys.executable))
    kubectl.chmod(0o755)
    forwards = Forwards(tmp_path / "home", str(kubectl))
    try:
        port = forwards.open(tmp_path / "kubeconfig", "api", "demo", 8000, 0)
        assert forwards.open(tmp_path / "kubeconfig", "api", "demo", 8000, 0) == port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.status == 200
        processes = Processes(tmp_path / "home" / "processes", tmp_path / "home" / "logs")
        recorded = processes.find(processes.names()[0])
        assert recorded
        group = [psutil.Process(recorded.pid), *psutil.Process(recorded.pid).children(recursive=True)]
        assert len(group) == 2
        assert is_ours(port, tmp_path)
    finally:
        forwards.close()
    _, left = psutil.wait_procs(group, timeout=5)
    assert left == []
    assert not is_ours(port, tmp_path)


@pytest.mark.parametrize("name", ["relay-4200", "forward-default-dashboard-refresh-page-80-4200"])
def test_a_port_of_our_own_is_not_reported_as_taken(tmp_path: Path, name: str) -> None:
    """A second `make demo` uses the port of the page again. Controls: another port, and the record of a process that has ended."""
    processes = Processes(tmp_path / "demo" / "processes", tmp_path / "demo" / "logs")
    processes.start(name, ["sleep", "1000"])
    try:
        assert is_ours(4200, tmp_path)
        assert not is_ours(200, tmp_path)
        recorded = processes.find(name)
        assert recorded
        psutil.Process(recorded.pid).kill()
        eventually(lambda: not is_ours(4200, tmp_path), within=5)
    finally:
        processes.stop(name, grace=0)
