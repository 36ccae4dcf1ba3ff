"""Entry point of `refresh-page`: reads the environment and the clock, and starts the server."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import uvicorn

from refresh_api.plain import plain
from refresh_page.kube.client import RefreshWatcher
from refresh_page.kube.store import Store
from refresh_page.runlog.history import RunLogReader
from refresh_page.runlog.repository import RunLogRepository
from refresh_page.settings import Settings, SettingsError, settings_from
from refresh_page.web.app import application
from refresh_page.web.connections import LimitedConnection
from refresh_page.web.handlers import Handlers
from refresh_page.web.sse import SseStreams
from refresh_page.web.templates import Templates


def main() -> int:
    """Serve until SIGTERM. Return the exit code: 2 if a setting is invalid."""
    try:
        settings = settings_from(os.environ)
    except SettingsError as error:
        print(f"refresh-page: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    logging.getLogger().handlers[0].setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # at INFO, httpx logs every request to the API server
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve(settings, lambda: datetime.now(UTC).replace(microsecond=0)))
    return 0


async def serve(settings: Settings, now: Callable[[], datetime]) -> None:
    """Watch the cluster and serve the page until SIGTERM."""
    namespaces = settings.namespaces or ("",)
    store = Store(now(), namespaces)
    watcher = RefreshWatcher(settings.api_server, settings.account, now)
    run_log = RunLogReader(RunLogRepository(settings.warehouse) if settings.warehouse else None)
    handlers = Handlers(store, run_log, Templates(settings.base_path), SseStreams(store), now)
    server = uvicorn.Server(
        uvicorn.Config(
            application(handlers, settings.base_path, settings.hosts),
            http=LimitedConnection,
            ws="none",
            host=settings.host,
            port=settings.port,
            access_log=False,
            server_header=False,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
    )
    watches = [asyncio.create_task(watch(namespace, store)) for watch in (watcher.run, watcher.run_previews) for namespace in namespaces]
    try:
        await server.serve()
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


class _PlainFormatter(logging.Formatter):
    """A formatter that escapes control and other invisible characters from the cluster or the warehouse."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line to log."""
        return plain(super().format(record))


if __name__ == "__main__":
    sys.exit(main())
