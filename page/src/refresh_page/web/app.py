"""The page's addresses, and what guards them: nothing but GET and HEAD, by a name of ours, a few answers at once, and headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refresh_page.web.handlers import Handlers

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Accept-Language",
}

PROBES: Final = frozenset({"/healthz", "/readyz"})
MAX_PAGES: Final = 8
"""Answers that are made, or wait for their readers, at the same time; one is a few megabytes at most."""
MAX_FILES: Final = 2
"""Of files that runs left, which may have 32 megabytes."""
QUEUE_TIMEOUT: Final = 15.0
"""Seconds that a request waits for its turn: longer than a reader who takes nothing keeps one."""
_HOST: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of a port that is led here: `kubectl port-forward`."""


def application(site: Handlers, base_path: str = "", hosts: Collection[str] = ()) -> ASGIApp:
    """Return the site as an ASGI application; where a proxy passes `base_path` on, the addresses are below it, too.

    It answers to these `hosts` alone, and where it is asked by its own address; to any where none is named.
    """
    one, of_run = "/refreshes/{namespace}/{name}", "/runs/{run}"
    addresses = {
        "/": site.overview,
        "/index.json": site.overview,
        "/.json": site.overview,
        f"{one}.json": site.refresh,
        one: site.refresh,
        f"{one}{of_run}.json": site.run,
        f"{one}{of_run}": site.run,
        f"{one}{of_run}/artifacts/{{file}}": site.artifact,
        "/healthz": site.alive,
        "/readyz": site.ready,
    }
    routes: list[BaseRoute] = [Route(path, answer, methods=["GET"]) for path, answer in addresses.items()]
    routes.append(Mount("/static", StaticFiles(packages=[("refresh_page", "static")])))
    below: list[BaseRoute] = [Mount(base_path, routes=routes)] if base_path else []
    return Starlette(
        routes=[*below, *routes],
        middleware=[
            Middleware(RequestGuard, base_path=base_path, hosts=hosts),
            Middleware(ConcurrencyLimit),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=3),
        ],
        exception_handlers={404: site.missing},
    )


class RequestGuard:
    """Refuses every method that could write and every host that is not ours, and gives each answer the headers that keep it to itself."""

    def __init__(self, app: ASGIApp, base_path: str = "", hosts: Collection[str] = ()) -> None:
        self._app = app
        self._base_path = base_path
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                # style and script are asked for again, and sent again only where they have changed
                wanted = {**HEADERS, "Cache-Control": "no-cache"} if "/static/" in scope["path"] else HEADERS
                more = [(name.lower().encode(), value.encode()) for name, value in wanted.items()]
                message["headers"] = [*message["headers"], *((name, value) for name, value in more if name not in given)]
                message["headers"] = [(name, self._relative(value) if name == b"location" else value) for name, value in message["headers"]]
            await send(message)

        refusal = self._refusal(scope)
        return await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("this page only shows", status_code=405, headers={"Allow": "GET, HEAD"})
        # the kubelet asks by the pod's address, whatever it is called
        if scope["path"] in PROBES:
            return None
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(named[0]) if len(named) == 1 else None
        if match is None:
            return PlainTextResponse("the request names no host", status_code=400)
        host = match[1].lower().strip("[]")
        if self._hosts and host not in self._hosts | _LOCAL_NAMES and host != str((scope.get("server") or [""])[0]):
            return PlainTextResponse("this page has another name (chart value page.hosts)", status_code=421)
        return None

    def _relative(self, location: bytes) -> bytes:
        """Where a redirect leads, on this host: by a path alone, so that nobody's Host is handed back."""
        parts = urlsplit(location.decode("latin-1"))
        path = "/" + parts.path.lstrip("/")
        if self._base_path and not f"{path}/".startswith(f"{self._base_path}/"):
            path = self._base_path + path
        return (path + (f"?{parts.query}" if parts.query else "")).encode("latin-1")


class ConcurrencyLimit:
    """Makes a few answers at once, since each is there as a whole until its reader has taken it; others wait for their turn."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages = asyncio.Semaphore(MAX_PAGES)
        self._files = asyncio.Semaphore(MAX_FILES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request when it is its turn; 503 where that does not come. Probes and streams of events need none."""
        accepts = next((value for name, value in scope.get("headers", ()) if name == b"accept"), b"")
        if scope["type"] != "http" or scope["path"] in PROBES or accepts.startswith(b"text/event-stream"):
            return await self._app(scope, receive, send)
        turns = self._files if "/artifacts/" in scope["path"] else self._pages
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                await turns.acquire()
        except TimeoutError:
            busy = PlainTextResponse("too many readers", status_code=503, headers={"Retry-After": "5"})
            return await busy(scope, receive, send)
        try:
            return await self._app(scope, receive, send)
        finally:
            turns.release()
