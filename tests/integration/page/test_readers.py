"""Readers who take only room: each has little of it, none has it for long, and the others are answered meanwhile."""

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
"""Bytes of an answer."""
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
    """Whether a server is there."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def memory(pid: int) -> float:
    """Megabytes that a process has, with what the system holds for its sockets left out."""
    return psutil.Process(pid).memory_info().rss / 2**20


@contextmanager
def silent_readers(port: int, path: str, count: int = READERS) -> Iterator[list[socket.socket]]:
    """Connections that ask for a path and read nothing."""
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
    """Whether the other side has ended a connection, whatever it sent before."""
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
    """By how many megabytes a process grows at most within this time."""
    before, most, end = memory(pid), 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, memory(pid) - before)
        time.sleep(0.1)
    return most


@pytest.fixture(scope="module")
def address(ground) -> str:
    """The address of a large file that a run left."""
    with psycopg.connect(ground.database.dsn, autocommit=True) as connection:
        (run,) = connection.execute("select run_id from dbt_refresh_run order by started_at desc limit 1").fetchone() or ("",)
        connection.execute(
            "insert into dbt_refresh_artifact (run_id, name, media_type, content, stored_at) values (%s, %s, %s, %s, now())",
            (run, FILE, "text/plain", gzip.compress(b"x" * SIZE)),
        )
    return f"/refreshes/{NAMESPACE}/phase2/runs/{run}/artifacts/{FILE}"


def port_of(page: PageProcess) -> int:
    return int(page.url.rpartition(":")[2])


def test_the_control_a_server_without_bounds_keeps_a_whole_answer_for_each():
    """The same readers, the same size: hundreds of megabytes, for as long as they like."""
    port = free_port()
    with Popen([sys.executable, "-c", CONTROL, str(port), str(SIZE)]) as process:
        try:
            eventually(lambda: answers(port), within=20)
            with silent_readers(port, "/"):
                assert grown(process.pid, 3) > READERS * SIZE / 2**20 / 3
        finally:
            process.terminate()


def test_readers_who_do_not_read_take_little_memory_and_are_ended(page, address):
    """64 of them, with 6 MB each; whoever reads has the overview at once, and the file in time."""
    assert len(page.get(address).content) == SIZE
    with silent_readers(port_of(page), address) as readers:
        assert grown(page.pid, 4) < 80
        begun = time.monotonic()
        assert page.get("/").status_code == 200
        assert page.get("/healthz").status_code == 200
        assert time.monotonic() - begun < 5
        eventually(lambda: all(map(is_ended, readers)), within=90)
    assert page.get(address).status_code == 200


def test_a_slow_reader_has_all_of_it(page, address):
    """One with a slow line is none who does not read: 2 MB in a second."""
    with socket.create_connection(("127.0.0.1", port_of(page))) as one:
        one.sendall(f"GET {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        taken = 0
        while part := one.recv(2**17):
            taken += len(part)
            time.sleep(2**17 / (2 * 2**20))
    assert taken > SIZE


def health_over(one: socket.socket) -> bytes:
    """Ask over a connection whether the page is well; return the whole answer, which may come in parts."""
    one.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    said = b""
    while not said.endswith(b"\r\n\r\nok") and (part := one.recv(4096)):
        said += part
    return said


def test_who_asks_nothing_is_ended(page):
    """At once or never, letter by letter, or after an answer; the control: who asks is answered on the same connection."""
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


def test_more_connections_than_there_may_be_keep_nobody_out(page):
    """The one that has been silent for longest makes room."""
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
def test_it_answers_to_its_own_names(named_page, host, status):
    """Those that the chart names, and its own address; the probes to any, by which the kubelet asks."""
    answer = named_page.get("/", host=host)
    assert answer.status_code == status
    assert named_page.get("/healthz", host="10.1.2.3:4200").status_code == 200


@pytest.fixture(scope="module")
def named_page(ground) -> Iterator[PageProcess]:
    """A page with a name, below a path of its proxy."""
    with ground.running(HOSTS="status.example.org, other.example.org", BASE_PATH="/refreshes-page") as found:
        yield found


@pytest.mark.parametrize("path", [f"/refreshes/{NAMESPACE}/phase2/", f"/refreshes-page/refreshes/{NAMESPACE}/phase2/"])
def test_a_redirect_names_no_host(named_page, path):
    """Whatever the Host said, and where the proxy has taken its path off."""
    answer = named_page.get(path, host="other.example.org")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/refreshes-page/refreshes/{NAMESPACE}/phase2")


def test_many_who_read_are_all_answered(page):
    """Within their turns."""

    async def statuses() -> list[int]:
        async with httpx.AsyncClient(base_url=page.url, trust_env=False, timeout=60) as client:
            answers = await asyncio.gather(*(client.get("/", headers={"Accept": "application/json"}) for _ in range(100)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(statuses()) == [200] * 100
