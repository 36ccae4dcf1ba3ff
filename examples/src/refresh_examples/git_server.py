"""A Git server for demo and tests, in place of a user's own: `git http-backend` behind TLS."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Final
from urllib.parse import urlsplit

PATIENCE: Final = 60.0
"""Seconds without traffic after which a connection is closed."""
_LIMIT: Final = 120.0
"""Maximum seconds for one request."""


@dataclass(frozen=True)
class Login:
    """A user name and a password, with access to all repositories."""

    username: str
    password: str = field(repr=False)

    def permits(self, authorization: str) -> bool:
        """Return whether this value of the header `Authorization` is the login."""
        wanted = f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"
        return hmac.compare_digest(authorization.encode(), wanted.encode())


def create_repository(folder: Path) -> None:
    """Create an empty bare repository with the default branch main, unless it exists already."""
    if not (folder / "HEAD").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [git_program(), "init", "--quiet", "--bare", "--initial-branch=main", "--template=", str(folder)]
        subprocess.run(command, env=_environment(), check=True, timeout=_LIMIT)


def git_program() -> str:
    """Return the path of the program git; FileNotFoundError if it is missing."""
    found = shutil.which("git")
    if found is None:
        raise FileNotFoundError("the program git is missing")
    return found


def tls_of(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a server. Without `key`, the private key is in the certificate's file. OSError names the file."""
    for file in (certificate, key or certificate):
        file.open("rb").close()  # load_cert_chain raises errors that do not name the file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class _Request(BaseHTTPRequestHandler):
    """A connection of one client, with its requests."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: GitHttpServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.server.intercepts(self):
            return
        if self.server.permits(self.headers.get("Authorization", "")):
            self._answer_by_git()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        if self.command == "POST":  # its body is not read
            self.send_header("Connection", "close")
        self.end_headers()

    def _answer_by_git(self) -> None:
        parts = urlsplit(self.path)
        variables = {
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "git",  # without a user, git refuses pushes
            "REMOTE_ADDR": str(self.client_address[0]),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        command = [git_program(), "http-backend"]
        body = b"".join(self._body())
        done = subprocess.run(command, input=body, env=_environment() | variables, capture_output=True, check=False, timeout=_LIMIT)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(headers.pop("Status", "200" if head else "500").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return
        while length := int(self.rfile.readline().strip() or b"0", 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()


class GitHttpServer(ThreadingTCPServer):
    """An HTTPS server for the bare repositories in a folder, with a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        root: Path,
        tls: ssl.SSLContext,
        permits: Callable[[str], bool],
        intercepts: Callable[[BaseHTTPRequestHandler], bool] = lambda _request: False,
    ) -> None:
        """Listen on an address.

        `permits` is called with the header `Authorization`. `intercepts` may answer a request first, and returns whether it did.
        """
        self.root = root
        self.permits = permits
        self.intercepts = intercepts
        super().__init__(address, _Request)
        # the handshake is done in the connection's thread: a client that sends nothing must not block others
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self.server_address[1])

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Print an error, unless the client closed the connection or does not trust the certificate."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _environment() -> dict[str, str]:
    """Return the variables of git: without the machine's configuration, and without a background process after a push."""
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "receive.autogc", "GIT_CONFIG_VALUE_0": "false"}
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, **settings}
