"""What Kubernetes and Prometheus ask the operator: whether it lives, whether it is ready, and its figures.

Alive means that its watches tell what happens and that no refresh waits for its look for minutes; an operator that merely answers is not.
One that waits for the Lease is alive, and ready to take over as long as the API server tells it of the Lease.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from refresh_operator.kube.leader_election import LeaderElector
from refresh_operator.kube.store import Store
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref

LONGEST_DELAY: Final = timedelta(minutes=5)
"""A refresh that is due for so long and is not looked at shows that the operator hangs."""

_AT_ONCE: Final = 4
"""Readers of the figures that are answered at once; each has all of them in memory until it has taken them."""
_STUCK: Final = timedelta(seconds=8)
"""What a reader of the figures may take."""
_IDLE: Final = timedelta(seconds=75)
_CHUNK: Final = 64 * 1024


@dataclass
class Health:
    """What the operator's health is judged by."""

    store: Store
    queue: WorkQueue
    elector: LeaderElector | None = None
    """None where this operator asks nobody whether it may work."""
    initial: set[Ref] = field(default_factory=set)
    """The refreshes that were there at the start and have not been looked at yet."""

    def liveness_problem(self) -> str:
        """Return why the operator should be started anew; nothing where it works."""
        if self.store.stale_kinds:
            return f"the watch of {', '.join(self.store.stale_kinds)} tells nothing"
        delay = self.queue.longest_delay()
        return f"a refresh has been waiting for its look for {delay.total_seconds():.0f} s" if delay > LONGEST_DELAY else ""

    def readiness_problem(self) -> str:
        """Return why the operator is not ready to work, or to take over; nothing where it is."""
        if self.elector and (trouble := self.elector.readiness_problem()):
            return trouble
        if self.elector and not self.elector.is_leader:
            return ""
        if not self.store.synced.is_set():
            return "the API server has not answered yet"
        return f"{len(self.initial)} refreshes are to be looked at first" if self.initial else ""

    def ok_text(self) -> str:
        """Return what a healthy operator does."""
        return f"ok, standing by for {self.elector.holder}" if self.elector and not self.elector.is_leader else "ok"


async def serve_probes(endpoint: str, health: Health, figures: Callable[[], str]) -> None:
    """Answer /healthz, /readyz and /metrics at the host and port of an address, until cancelled."""

    def probe(trouble: Callable[[], str]) -> Callable[[web.Request], object]:
        async def answer(_request: web.Request) -> web.Response:
            text = trouble()
            return web.Response(status=503 if text else 200, text=text or health.ok_text())

        return answer

    turns = asyncio.Semaphore(_AT_ONCE)

    async def metrics(request: web.Request) -> web.StreamResponse:
        """In parts, each once the one before was taken: of a thousand refreshes it is megabytes."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        async with turns:
            text = figures().encode()
            response.content_length = len(text)
            try:
                async with asyncio.timeout(_STUCK.total_seconds()):
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
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0, access_log=None, keepalive_timeout=_IDLE.total_seconds())
    await runner.setup()
    place = urlsplit(endpoint)
    try:
        await web.TCPSite(runner, place.hostname, place.port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
