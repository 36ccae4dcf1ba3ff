"""Git repositories and a real server: `git http-backend` behind TLS, with a login, and with faults on demand."""

from __future__ import annotations

import base64
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from support.certificates import Certificate, create_certificate

_COMMITTER = {"NAME": "A. Nalyst", "EMAIL": "analyst@example.org", "DATE": "2026-03-03T12:00:00Z"}


@dataclass
class Repository:
    """A bare repository, and a working tree to commit to it."""

    bare: Path
    tree: Path

    @classmethod
    def create(cls, root: Path, name: str = "warehouse.git", *options: str) -> Repository:
        """Create an empty repository below `root`, the folder of a server, with a working tree next to it."""
        bare, tree = root / name, root.with_name(f"{root.name}-trees") / name.removesuffix(".git")
        git(root, "init", "--quiet", "--bare", "--initial-branch=main", *options, str(bare))
        git(bare, "config", "http.receivepack", "true")
        tree.parent.mkdir(exist_ok=True)
        git(root, "clone", "--quiet", str(bare), str(tree))
        return cls(bare, tree)

    def commit(self, message: str = "Change the project", branch: str = "main") -> str:
        """Commit everything in the working tree to a branch, push it, and return the commit's hash."""
        git(self.tree, "checkout", "--quiet", "-B", branch)
        git(self.tree, "add", "--all")
        git(self.tree, "commit", "--quiet", "--allow-empty", "--message", message)
        git(self.tree, "push", "--quiet", "--force", "origin", branch)
        return git(self.tree, "rev-parse", "HEAD").strip()

    def tag(self, name: str, *options: str) -> None:
        """Tag the last commit; an existing tag is moved."""
        git(self.tree, "tag", "--force", *options, name)
        git(self.tree, "push", "--quiet", "--force", "origin", f"refs/tags/{name}")


def git(folder: Path, *arguments: str) -> str:
    """Run git as the author of commits; return its output."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _COMMITTER.items()}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(["git", *arguments], cwd=folder, env={**quiet, **who}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    path: str
    authorization: str


Fault = Callable[[BaseHTTPRequestHandler], bool]
"""A function that may answer a request in place of the server, and returns whether it did."""


@dataclass
class GitServer:
    """A server for the repositories in a folder, on 127.0.0.1, while its `with` block runs."""

    root: Path
    username: str = ""
    password: str = ""
    bearer_token: str = ""
    fault: Fault | None = None
    requests: list[Request] = field(default_factory=list)
    certificate: Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.certificate = create_certificate(self.root.with_name(f"{self.root.name}.pem"))

    def __enter__(self) -> Self:
        """Start the server."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer(self)

            def do_POST(self) -> None:
                owner._answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing; requests are in `requests`."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self._server.server_address[1])

    def url(self, name: str = "warehouse.git") -> str:
        """Return the address of a repository."""
        return f"https://localhost:{self.port}/{name}"

    def secret(self, **keys: str) -> dict[str, str]:
        """Return a Secret with read access, with changes."""
        login = {"username": self.username, "password": self.password} if self.password else {}
        token = {"bearerToken": self.bearer_token} if self.bearer_token else {}
        return {"ca.crt": self.certificate.text, **login, **token, **keys}

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(Request(request.path, request.headers.get("Authorization", "")))
        if self.fault and self.fault(request):
            return
        if not self._is_allowed(request.headers.get("Authorization", "")):
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        status, headers, body = self._backend(request)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _is_allowed(self, authorization: str) -> bool:
        if self.bearer_token:
            return authorization == f"Bearer {self.bearer_token}"
        wanted = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return not self.password or authorization == f"Basic {wanted}"

    def _backend(self, request: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(request.path)
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            [shutil.which("git") or "git", "http-backend"],
            input=_body(request),
            env=variables,
            capture_output=True,
            check=False,
            timeout=120,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        return int(headers.pop("Status", "200").split()[0]), headers, body


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: clients that disconnect, or do not trust the certificate, are part of the tests."""


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    found = b""
    while length := int(request.rfile.readline().strip() or b"0", 16):
        found += request.rfile.read(length)
        request.rfile.readline()
    request.rfile.readline()
    return found
