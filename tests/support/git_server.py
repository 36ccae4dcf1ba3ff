"""Git repositories and a real server: `git http-backend` behind TLS, with a login, and with faults on demand."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from refresh_examples.git_server import GitHttpServer, Login, tls_of
from support.certificates import Certificate, create_certificate

_AUTHOR = {"NAME": "A. Nalyst", "EMAIL": "analyst@example.org"}
_LIMIT = 60.0  # seconds


class GitError(AssertionError):
    """git failed; the text is its error message."""


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
    """Run git as the author of commits, without the machine's configuration; return its output."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _AUTHOR.items()}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    places = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command, environment = ["git", *arguments], {**quiet, **places, **who}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except FileNotFoundError:
        raise GitError("the program git is missing: apt-get install git") from None
    if done.returncode:
        raise GitError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    path: str
    authorization: str


Fault = Callable[[BaseHTTPRequestHandler], bool]
"""A function that may answer a request in place of the server, and returns whether it did."""


def unavailable(request: BaseHTTPRequestHandler) -> bool:
    """Answer a request with 503, as a server that is down; a fault."""
    request.send_response(503)
    request.send_header("Content-Length", "0")
    request.end_headers()
    return True


def count_sent(server: GitServer) -> Callable[[], int]:
    """Count the bytes that a server sends from now on, in place of any other fault; return a function that returns their number."""
    sent = 0
    known: list[BaseHTTPRequestHandler] = []

    def count(request: BaseHTTPRequestHandler) -> bool:
        if request in known:  # a connection has one handler for all of its requests
            return False
        known.append(request)
        write = request.wfile.write

        def counted(content: Any) -> int:
            nonlocal sent
            sent += len(content)
            return write(content)

        request.wfile.write = counted  # type: ignore[method-assign]
        return False

    server.fault = count
    return lambda: sent


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
        self._server = GitHttpServer(("127.0.0.1", 0), self.root, tls_of(self.certificate.file), self._permits, self._intercepts)
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
        return self._server.port

    def url(self, name: str = "warehouse.git") -> str:
        """Return the address of a repository."""
        return f"https://localhost:{self.port}/{name}"

    def secret(self, **keys: str) -> dict[str, str]:
        """Return a Secret with read access, with changes."""
        login = {"username": self.username, "password": self.password} if self.password else {}
        token = {"bearerToken": self.bearer_token} if self.bearer_token else {}
        return {"ca.crt": self.certificate.text, **login, **token, **keys}

    def _intercepts(self, request: BaseHTTPRequestHandler) -> bool:
        self.requests.append(Request(request.path, request.headers.get("Authorization", "")))
        return self.fault is not None and self.fault(request)

    def _permits(self, authorization: str) -> bool:
        if self.bearer_token:
            return authorization == f"Bearer {self.bearer_token}"
        return not self.password or Login(self.username, self.password).permits(authorization)
