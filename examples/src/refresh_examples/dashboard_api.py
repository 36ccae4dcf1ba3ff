"""The dashboard API, a stand-in for the user's own: a cached summary for each dashboard, and the queries of their front end.

A summary is cached in this process for five minutes; a request with `Cache-Control: no-cache` recomputes it, which
is what the cache step of a refresh requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from refresh_examples import front
from refresh_examples.front import Connect, away, missing
from refresh_examples.summaries import DASHBOARDS, Dashboard, Summary, summary_of

LIFETIME = 300.0
"""Seconds for which a summary is cached."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class _Kept:
    summary: Summary
    version: str | None
    made: float


class Endpoint:
    """A dashboard's endpoint with its cache; one request at a time computes the summary, others wait for it."""

    def __init__(self, dashboard: Dashboard, connect: Connect, clock: Clock) -> None:
        self._dashboard = dashboard
        self._connect = connect
        self._clock = clock
        self._lock = Lock()
        self._kept: _Kept | None = None

    def answer(self, request: Request) -> JSONResponse:
        """Return the summary; 503 with a reason while the warehouse or the mart is missing, which is not cached."""
        afresh = "no-cache" in request.headers.get("cache-control", "")
        try:
            kept, hit = self._summary(afresh)
        except psycopg.errors.UndefinedTable:
            return missing(self._dashboard.relation)
        except psycopg.Error as error:
            return away(error)
        age = max(0, int(self._clock() - kept.made))
        version = {"X-Data-Version": kept.version} if kept.version else {}
        return JSONResponse(kept.summary, headers={"X-Cache": "HIT" if hit else "MISS", "Age": str(age), **version})

    def _summary(self, afresh: bool) -> tuple[_Kept, bool]:
        with self._lock:
            if self._kept and not afresh and self._clock() - self._kept.made < LIFETIME:
                return self._kept, True
            with self._connect() as connection:
                self._kept = _Kept(*summary_of(self._dashboard, connection), self._clock())
            return self._kept, False


def application(connect: Connect, clock: Clock, files: Path | None = None) -> Starlette:
    """Return the application: four cached summaries, the front end's queries and files, and `/health`.

    `/health` answers as long as the process lives.
    """
    summaries = [
        Route(f"/api/{dashboard.name}/summary", Endpoint(dashboard, connect, clock).answer, methods=["GET"]) for dashboard in DASHBOARDS
    ]
    return Starlette(routes=[*summaries, Route("/health", _health, methods=["GET"]), *front.routes(connect, files)])


def connect_by_environment() -> psycopg.Connection:
    """Open a read-only connection with PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, and short timeouts."""
    return psycopg.connect(
        connect_timeout=5, application_name="dashboard-api", options="-c statement_timeout=20s -c default_transaction_read_only=on"
    )


def _health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})
