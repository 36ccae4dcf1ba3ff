"""Forwarded ports, with a program that plays kubectl and listens as it does."""

import sys
import urllib.request
from pathlib import Path

import psutil

from cluster.forwards import Forwards
from cluster.processes import Processes

LISTENER = """#!{python}
import http.server, sys
port = int(sys.argv[-1].split(":")[0])
http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_forwarded_port_is_the_same_again_and_its_whole_process_group_ends(tmp_path: Path) -> None:
    """Each forwarded port is one process group; none is left after close."""
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
    finally:
        forwards.close()
    _, left = psutil.wait_procs(group, timeout=5)
    assert left == []
