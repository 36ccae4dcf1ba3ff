"""A TCP proxy whose connections can be silenced: they stay open without data, as behind a firewall that has lost its state."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards connections to a port of 127.0.0.1."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._silent: set[socket.socket] = set()
        self._all_silent = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        # After close() alone, a blocked accept() would still take one more connection.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                # While a thread of ours still reads, close() alone sends nothing to the peer.
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def lead(self, host: str, port: int) -> None:
        """Forward new connections to another server, as a managed service does after a failover."""
        self._target = (host, port)

    def silence(self, new_ones_too: bool = False) -> int:
        """Stop forwarding on open connections and return their number; new ones work, unless `new_ones_too`."""
        with self._lock:
            self._silent |= self._open
            self._all_silent = new_ones_too
            return len(self._open) // 2

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
                if self._all_silent:
                    self._silent |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while sent := source.recv(65536):
                if source in self._silent:
                    continue
                sink.sendall(sent)
        except OSError:
            pass
        if source in self._silent:
            return
        with self._lock:
            self._open -= {source, sink}
        for each in (source, sink):
            each.close()
