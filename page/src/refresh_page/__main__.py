"""`refresh-page`: the only place that reads the environment and the clock."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import uvicorn

from refresh_api.plain import plain
from refresh_page.kube.client import Cluster
from refresh_page.kube.store import Board
from refresh_page.runlog.history import History
from refresh_page.runlog.repository import Records
from refresh_page.settings import Settings, SettingsError, settings_from
from refresh_page.web.app import application
from refresh_page.web.connections import Connection
from refresh_page.web.handlers import Site
from refresh_page.web.sse import Streams
from refresh_page.web.templates import Pages


def main() -> int:
    """Serve until SIGTERM; exit code 2 when a setting is wrong."""
    try:
        settings = settings_from(os.environ)
    except SettingsError as error:
        print(f"refresh-page: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    logging.getLogger().handlers[0].setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # told at INFO: every request to the API server
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve(settings, lambda: datetime.now(UTC).replace(microsecond=0)))
    return 0


async def serve(settings: Settings, now: Callable[[], datetime]) -> None:
    """Watch the cluster and answer readers, until told to end."""
    namespaces = settings.namespaces or ("",)
    board = Board(now(), namespaces)
    cluster = Cluster(settings.api_server, settings.account, now)
    history = History(Records(settings.warehouse) if settings.warehouse else None)
    site = Site(board, history, Pages(settings.base_path), Streams(board), now)
    server = uvicorn.Server(
        uvicorn.Config(
            application(site, settings.base_path, settings.hosts),
            http=Connection,
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
    watches = [asyncio.create_task(cluster.follow(namespace, board)) for namespace in namespaces]
    try:
        await server.serve()
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


class _Lines(logging.Formatter):
    """Lines in which nothing of cluster or warehouse moves or hides anything."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return plain(super().format(record))


if __name__ == "__main__":
    sys.exit(main())
