"""The endpoints /healthz, /readyz and /metrics.

The operator is alive if its watches report changes and no refresh is overdue for minutes. An operator that waits for the Lease is alive,
and ready as long as it can read the Lease.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from refresh_operator.kube.claims import Claims
from refresh_operator.kube.leader_election import LeaderElector
from refresh_operator.kube.store import Store
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref

LONGEST_DELAY: Final = timedelta(minutes=5)
"""The operator is not alive if a refresh has been due for longer than this without being reconciled."""

_MAX_SCRAPES: Final = 4
"""Maximum number of concurrent scrapes; each holds all metrics in memory until they are sent."""
_SCRAPE_TIMEOUT: Final = timedelta(seconds=8)
"""Timeout of one scrape."""
_IDLE: Final = timedelta(seconds=75)
_CHUNK: Final = 64 * 1024


@dataclass
class Health:
    """The parts of the operator that determine its health."""

    store: Store
    queue: WorkQueue
    elector: LeaderElector | None = None
    """None without leader election."""
    claims: Claims | None = None
    """None without leader election."""
    initial: set[Ref] = field(default_factory=set)
    """The refreshes that existed at the start and have not yet been reconciled."""

    def liveness_problem(self) -> str:
        """Return why the operator should be restarted; empty if it works."""
        if self.store.stale_kinds:
            return f"no events from the watch of {', '.join(self.store.stale_kinds)}"
        delay = self.queue.longest_delay()
        return f"a refresh has been due for {delay.total_seconds():.0f} s" if delay > LONGEST_DELAY else ""

    def readiness_problem(self) -> str:
        """Return why the operator is ready neither to work nor to take over; empty if it is ready."""
        if self.elector and (problem := self.elector.readiness_problem()):
            return problem
        if self.elector and not self.elector.is_leader:
            return ""
        if not self.store.synced.is_set():
            return "the initial list of objects is not complete"
        if self.claims and (problem := self.claims.readiness_problem()):
            return problem
        return f"{len(self.initial)} refreshes have not been reconciled yet" if self.initial else ""

    def ok_text(self) -> str:
        """Return the response of a healthy operator."""
        return f"ok, standing by for {self.elector.holder}" if self.elector and not self.elector.is_leader else "ok"


async def serve_probes(endpoint: str, health: Health, metrics: Callable[[], str]) -> None:
    """Serve the endpoints at the host and port of a URL until cancelled."""

    def probe(problem: Callable[[], str]) -> Callable[[web.Request], object]:
        async def answer(_request: web.Request) -> web.Response:
            text = problem()
            return web.Response(status=503 if text else 200, text=text or health.ok_text())

        return answer

    scrapes = asyncio.Semaphore(_MAX_SCRAPES)

    async def scrape(request: web.Request) -> web.StreamResponse:
        """Send the metrics in chunks: those of a thousand refreshes take megabytes."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        async with scrapes:
            text = metrics().encode()
            response.content_length = len(text)
            try:
                async with asyncio.timeout(_SCRAPE_TIMEOUT.total_seconds()):
                    await response.prepare(request)
                    for begin in range(0, len(text), _CHUNK):
                        await response.write(text[begin : begin + _CHUNK])
                    await response.write_eof()
            except TimeoutError:
                if request.transport:
                    request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/healthz", probe(health.liveness_problem))  # type: ignore[arg-type]
    app.router.add_get("/readyz", probe(lambda: health.liveness_problem() or health.readiness_problem()))  # type: ignore[arg-type]
    app.router.add_get("/metrics", scrape)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0, access_log=None, keepalive_timeout=_IDLE.total_seconds())
    await runner.setup()
    address = urlsplit(endpoint)
    try:
        await web.TCPSite(runner, address.hostname, address.port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
