"""A server that sends exactly the given bytes, for invalid responses."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Script = Iterable[bytes]
"""Bytes, sent one after the other."""


@dataclass
class RawServer:
    """Plays one script per connection, the last one repeatedly: reads a request, sends the bytes, closes."""

    scripts: list[Script]
    hears_first: bool = True
    tls: ssl.SSLContext | None = None
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """Return the server's URL."""
        return f"http://127.0.0.1:{self.port}"

    def drip(self, begin: bytes, byte: bytes = b"x", every: float = 0.05) -> Iterator[bytes]:
        """Yield a beginning, and then single bytes until the server stops."""
        yield begin
        while not self._over.wait(every):
            yield byte

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._socket.close()

    def _serve(self) -> None:
        number = 0
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            script = self.scripts[min(number, len(self.scripts) - 1)]
            number += 1
            threading.Thread(target=self._say, args=(connection, script), daemon=True).start()

    def _say(self, connection: socket.socket, script: Script) -> None:
        with suppress(OSError), self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as talk:
            if self.hears_first:
                self.heard.append(talk.recv(65536))
            for part in script:
                talk.sendall(part)
            if self.hears_first and script:
                # Closing a socket with unread input would reset it and discard what was sent.
                talk.settimeout(0.2)
                talk.recv(65536)


def http(status: int, body: bytes = b"ok", **headers: str) -> list[bytes]:
    """Return a well-formed response."""
    named = {"Content-Length": str(len(body)), "Connection": "close", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in named.items())]
    return ["\r\n".join([*lines, "", ""]).encode() + body]
