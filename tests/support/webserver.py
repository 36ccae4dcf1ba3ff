"""A web server for tests that answers as configured and records its requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Asked:
    """One recorded request."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class WebServer:
    """Answers 200 unless `statuses` has the path; paths in `slow` wait until the server stops."""

    statuses: dict[str, int] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of every response; may be changed at any time."""
    body: str = "ok"
    asked: list[Asked] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None
    """Called with each request, before it is recorded and answered."""

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Return the server's URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def paths(self) -> list[str]:
        """Return the requested paths, in order."""
        return [asked.path for asked in self.asked]

    def answer_to(self, asked: Asked) -> int:
        """Return the status to answer."""
        return self.statuses.get(asked.path, 200)

    def wake(self) -> None:
        """Drop waiting requests without an answer; from now on no request waits."""
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

            def do_PUT(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode(errors="replace")
                asked = Asked(self.command, self.path, dict(self.headers), body)
                server.on_request()
                server.asked.append(asked)
                if self.path in server.slow:
                    server._over.wait()
                    return
                self.send_response(server.answer_to(asked))
                for name, value in {"Content-Length": str(len(server.body)), **server.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Write no log."""

        return Handler
