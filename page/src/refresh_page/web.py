"""The page's addresses: the same one answers with HTML, JSON, or the events that tell of changes. Nothing but GET and HEAD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refresh_api.model import Model
from refresh_page.board import Board
from refresh_page.live import Streams
from refresh_page.overview import overview_of
from refresh_page.pages import Pages
from refresh_page.words import Words, language_of

SHOWN: Final = 100
"""Refreshes on one page of the overview."""
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


@dataclass(frozen=True)
class Site:
    """What the addresses answer from."""

    board: Board
    pages: Pages
    streams: Streams
    now: Callable[[], datetime]

    async def overview(self, request: Request) -> Response:
        """Every refresh."""
        if _wants_events(request):
            return self.streams.of(lambda: self.board.version)
        now, silent = self.now(), self.board.silent_since
        search = request.query_params.get("q", "").strip()[:100]
        refreshes = [each for each in self.board.all() if search.lower() in f"{each.ref.namespace}/{each.ref.name} {each.title}".lower()]
        shown = overview_of(refreshes, self.board.is_complete, silent[0] if silent else None, now)
        if _wants_json(request):
            return _json(shown)
        last = max(1, -(-len(shown.refreshes) // SHOWN))
        page = min(last, max(1, _number(request.query_params.get("page", "1"))))
        lines = shown.refreshes[(page - 1) * SHOWN : page * SHOWN]
        namespaces = {each.namespace for each in shown.refreshes}
        values = {"overview": shown, "lines": lines, "page": page, "last": last, "search": search, "namespaces": namespaces}
        return self._html(request, "overview.html", self.board.version, values)

    async def alive(self, _request: Request) -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok")

    async def ready(self, _request: Request) -> Response:
        """Whether everything was listed once."""
        done = self.board.is_complete
        return PlainTextResponse("ok" if done else "the API server has not answered yet", status_code=200 if done else 503)

    def _html(self, request: Request, template: str, version: str, values: Mapping[str, object], status: int = 200) -> Response:
        words = Words(language_of(request.headers.get("accept-language", "")), self.now())
        text = self.pages.render(template, words, version, **values)
        return Response(text, status, {"Content-Language": words.language}, "text/html; charset=utf-8")

    async def missing(self, request: Request, _error: Exception) -> Response:
        """No such address."""
        return self._html(request, "missing.html", "", {"what": request.url.path}, 404)


def application(site: Site, base_path: str = "") -> ASGIApp:
    """Return the site as an ASGI application."""
    get = ["GET"]
    routes = [
        Route("/", site.overview, methods=get),
        Route("/index.json", site.overview, methods=get),
        Route("/healthz", site.alive, methods=get),
        Route("/readyz", site.ready, methods=get),
        Mount("/static", StaticFiles(packages=[("refresh_page", "static")])),
    ]
    inner = [Mount(base_path, routes=routes), *routes[2:4]] if base_path else routes
    return Starlette(routes=inner, middleware=[Middleware(Guard)], exception_handlers={404: site.missing})


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
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *((name, value) for name, value in more if name not in given)]
            await send(message)

        if scope["method"] not in ("GET", "HEAD"):
            refusal = PlainTextResponse("this page only shows", status_code=405, headers={"Allow": "GET, HEAD"})
            return await refusal(scope, receive, guarded)
        return await self._app(scope, receive, guarded)


def _json(view: Model, status: int = 200) -> Response:
    return Response(to_json(view, by_alias=True), status, media_type="application/json")


def _wants_json(request: Request) -> bool:
    if request.url.path.endswith(".json"):
        return True
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _wants_events(request: Request) -> bool:
    return request.headers.get("accept", "").startswith("text/event-stream")


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 6 else 1
