"""A Docker engine for one checkout: nothing leaves its network, and its next start cleans up after a crash."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.embedded.binaries import NODE, build
from cluster.embedded.cgroups import hierarchies
from cluster.embedded.full import cgroup_of
from cluster.engine.engine import Engine
from cluster.engine.sysctls import present
from cluster.paths import Paths, paths_of
from cluster.preflight import ensure
from cluster.processes import Processes
from support.eventually import eventually

_CONNECT = """
import socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5); print("open")
except OSError as error: print(type(error).__name__)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that has not been started, with an image of one program."""
    paths = Paths(tmp_path, tmp_path / ".state", paths_of(os.environ).cache)
    ensure(paths, "embedded", "a Docker engine of its own")
    engine = Engine(paths)
    yield engine
    engine.remove()


def docker(engine: Engine, *arguments: str, stdin: bytes | None = None) -> str:
    """Return what docker prints."""
    command = ["docker", *arguments]
    done = subprocess.run(command, env=engine.environment(), input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def start_container(engine: Engine, tmp_path: Path) -> None:
    """Start a container that restarts, in its own network, like the nodes of kind."""
    folder = tmp_path / "image"
    folder.mkdir(exist_ok=True)
    (folder / "pause").write_bytes(build(NODE, paths_of(os.environ).cache).read_bytes())
    (folder / "pause").chmod(0o755)
    archive = subprocess.run(["tar", "--create", "--directory", str(folder), "."], capture_output=True, check=True).stdout
    docker(engine, "import", '--change=ENTRYPOINT ["/pause"]', "-", "pause:test", stdin=archive)
    docker(engine, "network", "create", "kind")
    docker(engine, "run", "--detach", "--privileged", "--network=kind", "--restart=always", "--name=node", "pause:test")


def left_of(engine: Engine) -> list[str]:
    """Return what exists of an engine: processes, its folder of sockets, control groups."""
    name = cgroup_of(engine.home)
    processes = [str(process.pid) for process in psutil.process_iter() if any(str(engine.home) in word for word in command_line(process))]
    groups = [str(each / name) for each in hierarchies(Path("/proc/mounts").read_text()) if (each / name).exists()]
    return [*processes, *groups, *([f"/run/{name}"] if Path(f"/run/{name}").exists() else [])]


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_nothing_leaves_its_network_and_nothing_of_it_is_left(engine: Engine, tmp_path: Path) -> None:
    """It has its own loopback, and outside addresses are unreachable. The control is the same connection from the machine."""
    before, modules = present(), Path("/lib/modules").exists()
    engine.up(closed=True)
    start_container(engine, tmp_path)
    assert docker(engine, "ps", "--format={{.Names}}") == "node"
    assert len(left_of(engine)) > 5
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", _CONNECT, "127.0.0.1", str(listener.getsockname()[1])]
        assert output(command) == "open"
        assert output(engine.in_network(command)) == "ConnectionRefusedError"
    assert output(engine.in_network([sys.executable, "-c", _CONNECT, "192.0.2.1", "80"])) == "OSError"
    engine.down()
    engine.down()
    assert left_of(engine) == []
    assert (present(), Path("/lib/modules").exists()) == (before, modules)


def test_containers_of_a_crashed_engine_are_not_restored_in_the_machine_s_network(engine: Engine, tmp_path: Path) -> None:
    """An engine for builds would start them there, with bridge and addresses. Images are kept."""
    engine.up(closed=True)
    start_container(engine, tmp_path)
    recorded = Processes(engine.home / "processes", engine.home / "logs").find("node")
    assert recorded
    psutil.Process(recorded.pid).kill()
    eventually(lambda: not engine.alive(), within=10)
    links = output(["ip", "-brief", "link"])
    engine.up(closed=False)
    assert docker(engine, "ps", "--all", "--quiet") == ""
    assert output(["ip", "-brief", "link"]) == links
    assert docker(engine, "images", "--format={{.Repository}}:{{.Tag}}") == "pause:test"
    engine.down()
    assert left_of(engine) == []


def output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
