"""Routes of a front end: filtered views, records, live versions, and the front end's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from refresh_examples.asked import Chosen, RefusedError, chosen, page
from refresh_examples.live import Live
from refresh_examples.reads import BOARDS, Board, Json, records, view

Connect = Callable[[], AbstractContextManager[psycopg.Connection]]

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_FOR_EVER = "public, max-age=31536000, immutable"


def routes(connect: Connect, files: Path | None) -> list[BaseRoute]:
    """Return all routes; `files` is the folder of the built front end. Without it, only data are served."""
    live = Live(connect)

    async def events(_request: Request) -> Response:
        if live.full:
            return refusal(503, "too many listeners", "try again later")
        return StreamingResponse(
            live.events(), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )

    found: list[BaseRoute] = [Route("/api/events", events, methods=["GET"])]
    for board in BOARDS:
        found.append(Route(f"/api/{board.dashboard.name}", _viewed(board, connect), methods=["GET"]))
        found.append(Route(f"/api/{board.dashboard.name}/records", _listed(board, connect), methods=["GET"]))
    return [*found, Mount("/", _Files(directory=files, html=True))] if files else found


def refusal(code: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a response that says what is wrong and what to do."""
    return JSONResponse({"error": error, "hint": hint}, status_code=code, headers=headers)


def missing(board_mart: str) -> JSONResponse:
    """Return the response while a table does not exist yet."""
    return refusal(503, f"{board_mart} does not exist yet", "run the refresh that builds it", {"Retry-After": "30"})


def away(error: psycopg.Error) -> JSONResponse:
    """Return the response while the warehouse is unreachable, without its message, which may contain names."""
    return refusal(503, "the warehouse does not answer", type(error).__name__, {"Retry-After": "30"})


def _viewed(board: Board, connect: Connect) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        def read(connection: psycopg.Connection) -> Json:
            return view(board, asked, connection)

        try:
            asked = chosen(request.query_params.multi_items(), board.filters)
        except RefusedError as error:
            return refusal(422, str(error), "see docs/dashboards.md")
        return _read(board, connect, read)

    return answer


def _listed(board: Board, connect: Connect) -> Callable[[Request], Response]:
    filters = [each for each in board.filters if each.name in board.records.filters]

    def answer(request: Request) -> Response:
        def read(connection: psycopg.Connection) -> Json:
            return records(board, asked, wanted, connection)

        try:
            asked: Chosen = chosen(request.query_params.multi_items(), filters, further=("page", "rows"))
            wanted = page(request.query_params)
        except RefusedError as error:
            return refusal(422, str(error), "see docs/dashboards.md")
        return _read(board, connect, read)

    return answer


def _read(board: Board, connect: Connect, read: Callable[[psycopg.Connection], Json]) -> Response:
    try:
        with connect() as connection:
            return JSONResponse(read(connection), headers={"Cache-Control": "no-store"})
    except psycopg.errors.UndefinedTable:
        return missing(board.dashboard.relation)
    except psycopg.Error as error:
        return away(error)


class _Files(StaticFiles):
    """The built front end: its page is revalidated each time, files with a hash in their name are cached."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_PAGE_HEADERS)
        response.headers["Cache-Control"] = _FOR_EVER if path.startswith("assets/") and response.status_code == 200 else "no-cache"
        return response
