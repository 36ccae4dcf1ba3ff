"""Slow and idle clients: each occupies little memory, none of them for long, and other clients are served meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import Popen

import httpx
import psutil
import psycopg
import pytest

from cluster.ports import free_port
from support.eventually import eventually
from support.page import PageProcess

from .conftest import NAMESPACE

SIZE = 6 * 2**20
"""Bytes of a response."""
READERS = 64
FILE = "large.txt"
CONTROL = """
import sys, uvicorn
async def app(scope, receive, send):
    body = bytes(int(sys.argv[2]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", log_level="warning")
"""


def answers(port: int) -> bool:
    """Return whether a server responds."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def memory(pid: int) -> float:
    """Return the resident memory of a process in megabytes, without the kernel's socket buffers."""
    return psutil.Process(pid).memory_info().rss / 2**20


@contextmanager
def silent_readers(port: int, path: str, count: int = READERS) -> Iterator[list[socket.socket]]:
    """Open connections that request a path and read nothing."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", port))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: identity\r\n\r\n".encode())
            found.append(one)
        yield found


def is_ended(one: socket.socket) -> bool:
    """Return whether the server has closed a connection."""
    one.settimeout(0.2)
    try:
        while one.recv(2**20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def grown(pid: int, seconds: float) -> float:
    """Return by how many megabytes a process grows at most within this time."""
    before, most, end = memory(pid), 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, memory(pid) - before)
        time.sleep(0.1)
    return most


@pytest.fixture(scope="module")
def address(ground) -> str:
    """The path of a large artifact."""
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        (run,) = connection.execute("select run_id from dbt_refresh_run order by started_at desc limit 1").fetchone() or ("",)
        connection.execute(
            "insert into dbt_refresh_artifact (run_id, name, media_type, content, stored_at) values (%s, %s, %s, %s, now())",
            (run, FILE, "text/plain", gzip.compress(b"x" * SIZE)),
        )
    return f"/refreshes/{NAMESPACE}/phase2/runs/{run}/artifacts/{FILE}"


def port_of(page: PageProcess) -> int:
    return int(page.url.rpartition(":")[2])


@pytest.mark.slow
def test_control_a_server_without_limits_buffers_a_whole_response_for_each_client():
    """Without it, the test below could pass because uvicorn or the kernel has limits already."""
    port = free_port()
    with Popen([sys.executable, "-c", CONTROL, str(port), str(SIZE)]) as process:
        try:
            eventually(lambda: answers(port), within=20)
            with silent_readers(port, "/"):
                assert grown(process.pid, 10) > READERS * SIZE / 2**20 / 3
        finally:
            process.terminate()


@pytest.mark.slow
def test_clients_that_do_not_read_use_little_memory_and_are_disconnected(page, address):
    """64 clients request 6 MB each and read nothing. Others still get the overview at once, and the artifact after a while."""
    assert len(page.get(address).content) == SIZE
    with silent_readers(port_of(page), address) as readers:
        assert grown(page.pid, 4) < 80
        begun = time.monotonic()
        assert page.get("/").status_code == 200
        assert page.get("/healthz").status_code == 200
        assert time.monotonic() - begun < 5
        eventually(lambda: all(map(is_ended, readers)), within=90)
    assert page.get(address).status_code == 200


def test_a_slow_client_receives_the_whole_response(page, address):
    """A client on a slow line, here 2 MB/s, must not be mistaken for one that does not read."""
    with socket.create_connection(("127.0.0.1", port_of(page))) as one:
        one.sendall(f"GET {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        taken = 0
        while part := one.recv(2**17):
            taken += len(part)
            time.sleep(2**17 / (2 * 2**20))
    assert taken > SIZE


def health_over(one: socket.socket) -> bytes:
    """Request /healthz over an open connection; return the whole response, which may arrive in parts."""
    one.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"\r\n\r\nok") and (part := one.recv(4096)):
        received += part
    return received


@pytest.mark.slow
def test_an_idle_client_is_disconnected(page):
    """Idle means: no request, a request byte by byte, or nothing after a response. Control: requests on one connection are served."""
    with ExitStack() as stack:
        idle, slow, after = (stack.enter_context(socket.create_connection(("127.0.0.1", port_of(page)))) for _ in range(3))
        for _ in range(2):
            assert b"200 OK" in health_over(after)
        begun, text = time.monotonic(), iter(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000)

        def ended() -> bool:
            try:
                slow.sendall(bytes([next(text)]))
            except ConnectionError:
                return is_ended(idle) and is_ended(after)
            return False

        eventually(ended, within=25, every=0.2)
        assert time.monotonic() - begun > 5


def test_too_many_connections_lock_nobody_out(page):
    """The connection that has been idle for longest is closed for a new one."""
    with ExitStack() as stack:
        for _ in range(700):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(page))))
        assert page.get("/").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("status.example.org", 200),
        ("STATUS.example.org:8443", 200),
        ("localhost:4200", 200),
        ("127.0.0.1", 200),
        ("evil.example.org", 421),
        ("status.example.org.evil.org", 421),
        ("", 400),
        ("a b", 400),
        ("a/../b", 400),
        ("[::1", 400),
        ("user@status.example.org", 400),
    ],
)
def test_only_configured_host_names_are_allowed(named_page, host, status):
    """Other names enable DNS rebinding. Allowed too: the page's own address, and for probes any name, as the kubelet uses the pod's."""
    answer = named_page.get("/", host=host)
    assert answer.status_code == status
    assert named_page.get("/healthz", host="10.1.2.3:4200").status_code == 200


@pytest.fixture(scope="module")
def named_page(ground) -> Iterator[PageProcess]:
    """A page with configured host names, under the base path of a proxy."""
    with ground.running(HOSTS="status.example.org, other.example.org", BASE_PATH="/refreshes-page") as found:
        yield found


@pytest.mark.parametrize("path", [f"/refreshes/{NAMESPACE}/phase2/", f"/refreshes-page/refreshes/{NAMESPACE}/phase2/"])
def test_a_redirect_names_no_host(named_page, path):
    """A forged Host header must not lead readers to another host. The base path is added even if the proxy strips it."""
    answer = named_page.get(path, host="other.example.org")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/refreshes-page/refreshes/{NAMESPACE}/phase2")


def test_concurrent_requests_are_all_served(page):
    """The limit of concurrent responses queues requests, and drops none."""

    async def statuses() -> list[int]:
        async with httpx.AsyncClient(base_url=page.url, trust_env=False, timeout=60) as client:
            answers = await asyncio.gather(*(client.get("/", headers={"Accept": "application/json"}) for _ in range(100)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(statuses()) == [200] * 100
