"""The operator's probes and metrics under slow clients, on real sockets."""

import asyncio
import os
import socket
import time
from contextlib import ExitStack

import httpx
import psutil
import pytest

from cluster.ports import free_port
from refresh_operator.kube.store import Store
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.observability.probes import Health, serve_probes

SIZE = 4 * 2**20


def is_ended(one: socket.socket) -> bool:
    """Return whether the server has closed a connection before its response was complete."""
    one.settimeout(0.2)
    taken = 0
    try:
        while part := one.recv(65536):
            taken += len(part)
            if taken > SIZE:
                return False
            time.sleep(0.05)
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return taken < SIZE


@pytest.mark.slow
async def test_slow_scrapes_are_limited_and_closed():
    """64 connections that read nothing of 4 MB. Probes respond meanwhile, and a normal scrape works afterwards."""
    port = free_port()
    serving = asyncio.create_task(serve_probes(f"http://127.0.0.1:{port}/healthz", Health(Store(), WorkQueue()), lambda: "x" * SIZE))
    process = psutil.Process(os.getpid())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        while not serving.done():
            try:
                if (await client.get("/healthz")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        assert len((await client.get("/metrics")).content) == SIZE
        before = process.memory_info().rss
        with ExitStack() as stack:
            readers = [stack.enter_context(socket.socket()) for _ in range(64)]
            for one in readers:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.connect(("127.0.0.1", port))
                one.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            most, end = 0, time.monotonic() + 3
            while time.monotonic() < end:
                assert (await client.get("/healthz")).status_code == 200
                most = max(most, process.memory_info().rss - before)
                await asyncio.sleep(0.2)
            assert most < 64 * SIZE / 4
            while not await asyncio.to_thread(is_ended, readers[0]):
                assert time.monotonic() < end + 20
        answer = await client.get("/metrics")
        assert len(answer.content) == SIZE
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
