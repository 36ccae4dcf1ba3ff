"""A web server of one's own for a test: it answers what it is told and remembers what it was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class WebServer:
    """Answers 200 to everything but what `statuses` says, and holds up what is in `slow` until it stops."""

    statuses: dict[str, int] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every answer; a test may change them at any time."""
    body: str = "ok"
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def paths(self) -> list[str]:
        """Return what was asked for, in order."""
        return [asked.path for asked in self.asked]

    def wake(self) -> None:
        """End what is held up, unanswered; nothing is held up any more."""
        self._over.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                server.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                if self.path in server.slow:
                    server._over.wait()
                    return
                self.send_response(server.statuses.get(self.path, 200))
                for name, value in {"Content-Length": str(len(server.body)), **server.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Tests print nothing of their servers."""

        return Handler
