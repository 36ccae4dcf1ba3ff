"""The page's addresses, and what guards them: nothing but GET and HEAD, and headers that keep a page to itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refresh_page.site import Site

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


def application(site: Site, base_path: str = "") -> ASGIApp:
    """Return the site as an ASGI application; where a proxy passes `base_path` on, the addresses are below it, too."""
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
        middleware=[Middleware(Guard), Middleware(GZipMiddleware, minimum_size=2000, compresslevel=3)],
        exception_handlers={404: site.missing},
    )


class Guard:
    """Refuses every method that could write, and gives each answer the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            await send(message)

        if scope["method"] not in ("GET", "HEAD"):
            refusal = PlainTextResponse("this page only shows", status_code=405, headers={"Allow": "GET, HEAD"})
            return await refusal(scope, receive, guarded)
        return await self._app(scope, receive, guarded)
