"""An HTTP proxy for `CONNECT`, with an optional login, as companies have between a cluster and the outside."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass
class ConnectProxy:
    """A proxy on 127.0.0.1 while its `with` block runs; it connects to any host that its own machine knows."""

    login: str = ""
    """user:password that clients must send; empty for no login."""
    refused: bool = False
    """Whether every address is forbidden (403)."""
    tunnels: list[str] = field(default_factory=list)
    """host:port of each tunnel that was opened."""

    def url(self, login: str = "") -> str:
        """Return the address for HTTPS_PROXY, with a login if one is given."""
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Start the proxy."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            # After 407 a client sends its login on the same connection.
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                proxy._connect(self)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _connect(self, request: BaseHTTPRequestHandler) -> None:
        sent = request.headers.get("Proxy-Authorization", "")
        if self.login and sent != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            request.send_response(407)
            request.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if self.refused:
            request.send_error(403)
            return
        host, _, port = request.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as server:
            self.tunnels.append(request.path)
            request.send_response(200)
            request.end_headers()
            back = threading.Thread(target=_copy, args=(server, request.connection), daemon=True)
            back.start()
            _copy(request.connection, server)
            back.join(10)
        request.close_connection = True


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)
