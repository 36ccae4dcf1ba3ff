"""A proxy in front of the API server that records all requests, and injects errors and timeouts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from kubernetes.aio import client, config

Fault = Callable[[str, str], str | None]
"""From method and path: `409`, `500`, `lost` (executed but never answered), or None to pass the request on."""


class FaultyApi:
    """Listens on a port of 127.0.0.1, without TLS."""

    def __init__(self, kubeconfig: Path, fault: Fault) -> None:
        self._kubeconfig = kubeconfig
        self._fault = fault
        self.seen: list[tuple[str, str]] = []
        """Method and path of each request, in order."""
        self.hits: list[str] = []
        """The faults that were injected, in order."""
        self.port = 0
        self._started = threading.Event()
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10), "the proxy does not start"
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._loop and self._ended:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def lead_through(self, config_file: Path) -> None:
        """Change a kubeconfig so that it points to this proxy."""
        told = json.loads(config_file.read_text())
        told["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        config_file.write_text(json.dumps(told))

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        configuration = client.Configuration()
        await config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]  # generated
        # only the certificate authority is taken: clients send their own token
        configuration.cert_file = configuration.key_file = None
        tls = client.ApiClient(configuration).rest_client.ssl_context
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

            async def answer(request: web.Request) -> web.StreamResponse:
                return await self._answer(session, configuration.host, request)

            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(app, shutdown_timeout=0.5)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._ended.wait()
            await runner.cleanup()

    async def _answer(self, session: aiohttp.ClientSession, host: str, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path))
        fault = self._fault(request.method, request.path)
        if fault:
            self.hits.append(fault)
        if fault in ("409", "500"):
            status: dict[str, Any] = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": "by the test",
                "code": int(fault),
            }
            return web.json_response(status, status=int(fault))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "accept-encoding")}
        url = host + request.path_qs
        async with session.request(request.method, url, headers=headers, data=await request.read() or None) as upstream:
            if fault == "lost":
                await upstream.read()
                assert request.transport
                request.transport.close()
                return web.Response()
            response = web.StreamResponse(status=upstream.status, headers={"Content-Type": upstream.headers.get("Content-Type", "")})
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            return response
