"""A real S3 server: Versity's gateway, built from its Go module. It checks signatures and permissions, and keeps objects as files."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import TracebackType
from typing import Final, Self

import httpx

from cluster.embedded.binaries import Program, build
from cluster.paths import paths_of
from cluster.ports import free_port
from cluster.waiting import tail, wait_until

_MODULE: Final = Path(__file__).with_name("s3")
_PROGRAM: Final = Program("versitygw", _MODULE, "github.com/versity/versitygw/cmd/versitygw", "two minutes on two cores")
OWNER: Final = {"accessKeyId": "PROPRIETAIRE0001", "secretAccessKey": "tres-secret/de+proprietaire=42"}
"""Credentials that may write every bucket, as the keys of a Secret."""
STRANGER: Final = {"accessKeyId": "ETRANGER00000001", "secretAccessKey": "tres-secret/d-etranger+43"}
"""Credentials that the server knows, without permissions."""
BUCKET: Final = "fichiers"
ENVIRONMENT: Final = {"ROOT_ACCESS_KEY_ID": OWNER["accessKeyId"], "ROOT_SECRET_ACCESS_KEY": OWNER["secretAccessKey"]}


def program() -> Path:
    """Return the program, which is built if need be."""
    return Path(build(_PROGRAM, paths_of(os.environ).cache))


def arguments(folder: PurePath, address: str) -> list[str]:
    """Return its arguments. The folder has `accounts`, `sidecar` and `buckets`, in which each bucket is a folder."""
    places = ["--port", address, "--health", "/health", "--iam-dir", str(folder / "accounts")]
    return [*places, "posix", "--sidecar", str(folder / "sidecar"), str(folder / "buckets")]


@dataclass
class S3Server:
    """A server on loopback with one bucket."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://127.0.0.1:{self.port}"

    def objects(self) -> dict[str, bytes]:
        """Return the objects in the bucket, by name."""
        root = self.folder / "buckets" / BUCKET
        return {
            str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and ".sgwtmp" not in path.parts
        }

    def __enter__(self) -> Self:
        (self.folder / "buckets" / BUCKET).mkdir(parents=True)
        for name in ("sidecar", "accounts"):
            (self.folder / name).mkdir()
        known = {"access": STRANGER["accessKeyId"], "secret": STRANGER["secretAccessKey"], "role": "user"}
        (self.folder / "accounts" / "users.json").write_text(json.dumps({"accessAccounts": {STRANGER["accessKeyId"]: known}}))
        self._log = self.folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program(), *arguments(self.folder, f"127.0.0.1:{self.port}")],
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_up, "the S3 server", 30, lambda: tail(self._log))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
