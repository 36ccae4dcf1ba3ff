"""The Git server of demo and tests in a cluster, and its repositories, which have one address in the cluster and one on this machine."""

from __future__ import annotations

import secrets
import socket
import ssl
from base64 import b64decode
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cluster.seam import Cluster
from support.certificates import create_certificate
from support.eventually import eventually
from support.git_clone import Clone
from support.installation import Installation

NAME: Final = "git"
"""Name of the Deployment, of its Service, and of the Secret with the login and the certificate."""
REPOSITORY: Final = "dashboards.git"
"""Repository of the first project; `examples/deploy/git.yaml` has the names of all."""
URL: Final = f"https://{NAME}/{REPOSITORY}"
"""Address of the first project's repository in its namespace."""
ALLOWED: Final = f"projects.allowedUrls={{https://{NAME}/*}}"
"""Value of the chart that allows refreshes to use the repositories."""
_VALID: Final = timedelta(days=3650)
_TLS: Final = f"{NAME}-tls"


def deploy_git_server(installation: Installation) -> None:
    """Apply the Git server and wait for its rollout. The repositories of a new pod are empty."""
    create_secrets(installation)
    installation.deploy(NAME)


def create_secrets(installation: Installation) -> None:
    """Create the login and the certificate of the Git server, unless they exist."""
    if installation.kubectl.names("secrets", "--field-selector", f"metadata.name={_TLS}"):
        return
    namespace = installation.kubectl.namespace
    hosts = [NAME, *(f"{NAME}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")), "localhost"]
    with TemporaryDirectory() as place:
        certificate = create_certificate(Path(place) / "tls.pem", hosts, ["127.0.0.1"], _VALID)
        key = certificate.file.read_text().removesuffix(certificate.text)
    values = {
        NAME: {"username": "refresh", "password": secrets.token_urlsafe(), "ca.crt": certificate.text},
        _TLS: {"tls.crt": certificate.text, "tls.key": key},
    }
    for name, keys in values.items():
        installation.create_secret(name, keys)


def project(path: str = ".", repository: str = REPOSITORY, **fields: object) -> dict[str, Any]:
    """Return `spec.project` for the branch main of a repository."""
    return {"git": {"url": f"https://{NAME}/{repository}", "ref": {"branch": "main"}, "path": path, "secretRef": {"name": NAME}, **fields}}


def clone(installation: Installation, cluster: Cluster, tree: Path, port: int = 0, repository: str = REPOSITORY) -> Clone:
    """Clone a repository into a folder, from its address on 127.0.0.1; `port` 0 chooses a free port."""
    secret = {key: b64decode(value).decode() for key, value in installation.kubectl.json("secret", NAME)["data"].items()}
    port = cluster.expose(NAME, installation.kubectl.namespace, 443, port)
    # when a pod is ready, its Service does not yet lead to it
    eventually(lambda: _answers(port, secret["ca.crt"]), within=30)
    return Clone.of(f"https://127.0.0.1:{port}/{repository}", tree, secret)


def push_folder(
    installation: Installation, cluster: Cluster, folder: Path, message: str, port: int = 0, *, repository: str = REPOSITORY, path: str = ""
) -> str | None:
    """Commit a dbt project to a repository; return the commit, or None if nothing has changed.

    `path` is its folder there, `.` for the repository as a whole; defaults to a folder of the same name.
    """
    path = path or folder.name
    with TemporaryDirectory() as place:
        cloned = clone(installation, cluster, Path(place) / "tree", port, repository)
        cloned.replace(folder, path)
        return cloned.commit(message, path)


def _answers(port: int, ca: str) -> bool:
    tls = ssl.create_default_context(cadata=ca)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
            tls.wrap_socket(connection, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False
