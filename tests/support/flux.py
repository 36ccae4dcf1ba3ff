"""Sources of Flux without Flux: the shape of its CRDs on a real API server, and a server of artifacts in place of source-controller."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.apiserver import ApiServer
from support.eventually import eventually

Json = dict[str, Any]
GROUP = "source.toolkit.fluxcd.io"
KINDS = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "Bucket": "buckets"}
_ARTIFACT = {
    "type": "object",
    "required": ["digest", "lastUpdateTime", "path", "revision", "url"],
    "properties": {
        "digest": {"type": "string", "pattern": r"^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"},
        "lastUpdateTime": {"type": "string", "format": "date-time"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "path": {"type": "string"},
        "revision": {"type": "string"},
        "size": {"type": "integer", "format": "int64"},
        "url": {"type": "string"},
    },
}
"""`status.artifact` as in v1 of Flux's API."""


def install_crds(api: ApiServer) -> None:
    """Create the CRDs, unless they exist, and wait until they are served."""
    for kind, plural in KINDS.items():
        name = f"{plural}.{GROUP}"
        if api.get("", "customresourcedefinitions", name) is None:
            api.create("", "customresourcedefinitions", _crd(kind, plural))
    eventually(lambda: all(api.text(f"/apis/{GROUP}/v1/{plural}").startswith('{"apiVersion"') for plural in KINDS.values()), within=30)


def _crd(kind: str, plural: str) -> Json:
    conditions = {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    status = {"type": "object", "properties": {"artifact": _ARTIFACT, "conditions": conditions}}
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
    }
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def archive_of(folder: Path, *members: tarfile.TarInfo) -> bytes:
    """Return a folder as Flux archives it, with further members."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, path.relative_to(folder), recursive=False)
        for member in members:
            archive.addfile(member)
    return content.getvalue()


@dataclass
class Artifacts:
    """A server of artifacts, while its `with` block runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path; any other path is answered with 404."""
    requests: list[str] = field(default_factory=list)
    redirect: str = ""
    """Where every request is sent instead."""

    def __enter__(self) -> Self:
        artifacts = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                artifacts.requests.append(self.path)
                content = artifacts.files.get(self.path)
                self.send_response(302 if artifacts.redirect else 404 if content is None else 200)
                if artifacts.redirect:
                    self.send_header("Location", artifacts.redirect)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def artifact(self, content: bytes, revision: str, made: str = "2026-03-03T12:00:00Z") -> Json:
        """Serve an artifact, and return it as `status.artifact` has it."""
        digest = hashlib.sha256(content).hexdigest()
        path = f"/{digest[:12]}.tar.gz"
        self.files[path] = content
        return {"url": self.url + path, "path": path, "digest": f"sha256:{digest}", "revision": revision, "lastUpdateTime": made}


@dataclass(frozen=True)
class Source:
    """A source in a namespace, whose status the test writes as source-controller does."""

    api: ApiServer
    namespace: str
    name: str
    kind: str = "GitRepository"

    @property
    def path(self) -> str:
        """Path of the collection in the API."""
        return KINDS[self.kind]

    def create(self) -> Self:
        """Create it without an artifact."""
        body = {"apiVersion": f"{GROUP}/v1", "kind": self.kind, "metadata": {"name": self.name}, "spec": {"interval": "1m", "url": "u"}}
        self.api.create(self.namespace, self.path, body)
        return self

    def set_status(self, artifact: Json | None = None, message: str = "") -> None:
        """Write its artifact, or why it has none."""
        ready = {"type": "Ready", "status": "False" if message else "True", "reason": "r", "message": message}
        status = {"artifact": artifact, "conditions": [ready]}
        self.api.patch(self.namespace, self.path, self.name, {"status": status}, status=True)
