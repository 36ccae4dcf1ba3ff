"""Routes of the page, and the middleware that protects them: methods, host names, security headers and concurrency."""

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

from refresh_page.views.overview_query import InvalidQueryError
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
"""Concurrent responses; each is a few megabytes at most."""
MAX_FILES: Final = 2
"""Concurrent responses with artifacts, which can have 32 megabytes each."""
QUEUE_TIMEOUT: Final = 15.0
"""Seconds that a request waits for a free slot: longer than the stall timeout of a connection."""
_HOST: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names under which `kubectl port-forward` reaches the page."""


def application(handlers: Handlers, base_path: str = "", hosts: Collection[str] = ()) -> ASGIApp:
    """Return the ASGI application. The routes exist below `base_path` too, for proxies that do not strip it.

    Requests must name one of `hosts`, or the address of the server; empty allows any host.
    """
    refresh, run = "/refreshes/{namespace}/{name}", "/runs/{run}"
    paths = {
        "/": handlers.overview,
        "/index.json": handlers.overview,
        "/.json": handlers.overview,
        "/calendar": handlers.calendar,
        "/calendar.json": handlers.calendar,
        f"{refresh}.json": handlers.refresh,
        refresh: handlers.refresh,
        f"{refresh}{run}.json": handlers.run,
        f"{refresh}{run}": handlers.run,
        f"{refresh}{run}/artifacts/{{file}}": handlers.artifact,
        f"{refresh}/tests": handlers.tests,
        f"{refresh}/tests.json": handlers.tests,
        f"{refresh}/compare": handlers.compare,
        f"{refresh}/compare.json": handlers.compare,
        f"{refresh}/nodes/{{node:path}}.json": handlers.node,
        f"{refresh}/nodes/{{node:path}}": handlers.node,
        f"{refresh}/badge.svg": handlers.badge,
        f"{refresh}/previews/{{preview}}.json": handlers.preview,
        f"{refresh}/previews/{{preview}}": handlers.preview,
        "/healthz": handlers.alive,
        "/readyz": handlers.ready,
    }
    routes: list[BaseRoute] = [Route(path, handler, methods=["GET"]) for path, handler in paths.items()]
    routes.append(Mount("/static", StaticFiles(packages=[("refresh_page", "static")])))
    below: list[BaseRoute] = [Mount(base_path, routes=routes)] if base_path else []
    return Starlette(
        routes=[*below, *routes],
        middleware=[
            Middleware(RequestGuard, base_path=base_path, hosts=hosts),
            Middleware(ConcurrencyLimit),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=3),
        ],
        exception_handlers={404: handlers.missing, InvalidQueryError: handlers.refused},
    )


class RequestGuard:
    """Middleware that rejects methods other than GET and HEAD, unknown hosts and NUL, and adds security headers to each response."""

    def __init__(self, app: ASGIApp, base_path: str = "", hosts: Collection[str] = ()) -> None:
        self._app = app
        self._base_path = base_path
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                # browsers revalidate style and script, and download them only after a change
                added = {**HEADERS, "Cache-Control": "no-cache"} if "/static/" in scope["path"] else HEADERS
                more = [(name.lower().encode(), value.encode()) for name, value in added.items()]
                message["headers"] = [*message["headers"], *((name, value) for name, value in more if name not in given)]
                message["headers"] = [(name, self._relative(value) if name == b"location" else value) for name, value in message["headers"]]
            await send(message)

        refusal = self._refusal(scope)
        return await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("this page is read-only", status_code=405, headers={"Allow": "GET, HEAD"})
        # PostgreSQL rejects it in any text; the run log would count as not responding, for all readers
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return PlainTextResponse("invalid address: it contains NUL", status_code=400)
        # the kubelet uses the pod's address
        if scope["path"] in PROBES:
            return None
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(named[0]) if len(named) == 1 else None
        if match is None:
            return PlainTextResponse("missing or invalid Host header", status_code=400)
        host = match[1].lower().strip("[]")
        if self._hosts and host not in self._hosts | _LOCAL_NAMES and host != str((scope.get("server") or [""])[0]):
            return PlainTextResponse("unknown host (chart value page.hosts)", status_code=421)
        return None

    def _relative(self, location: bytes) -> bytes:
        """Return a redirect's location as a path, so that a forged Host header is never returned."""
        parts = urlsplit(location.decode("latin-1"))
        path = "/" + parts.path.lstrip("/")
        if self._base_path and not f"{path}/".startswith(f"{self._base_path}/"):
            path = self._base_path + path
        return (path + (f"?{parts.query}" if parts.query else "")).encode("latin-1")


class ConcurrencyLimit:
    """Middleware that limits concurrent responses, since each is held in memory until its client has read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages = asyncio.Semaphore(MAX_PAGES)
        self._files = asyncio.Semaphore(MAX_FILES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request when a slot is free; respond 503 after QUEUE_TIMEOUT. Probes and event streams need no slot."""
        accepts = next((value for name, value in scope.get("headers", ()) if name == b"accept"), b"")
        if scope["type"] != "http" or scope["path"] in PROBES or accepts.startswith(b"text/event-stream"):
            return await self._app(scope, receive, send)
        slots = self._files if "/artifacts/" in scope["path"] else self._pages
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                await slots.acquire()
        except TimeoutError:
            busy = PlainTextResponse("too many requests", status_code=503, headers={"Retry-After": "5"})
            return await busy(scope, receive, send)
        try:
            return await self._app(scope, receive, send)
        finally:
            slots.release()
