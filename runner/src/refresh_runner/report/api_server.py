"""The API server of the pod's cluster: the runner writes its part of a status, and reads the source of a project, if it has one."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from pydantic import JsonValue

from refresh_api.names import API_VERSION, GROUP, RUNNER_FIELD_MANAGER, VERSION

ACCOUNT_PATH: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT: Final = 10.0


@dataclass(frozen=True)
class ApiServer:
    """Address of the API server, and the service account's folder."""

    url: str
    account: Path

    @classmethod
    def of_pod(cls, variables: Mapping[str, str], account: Path) -> ApiServer | None:
        """Return the API server of this pod's cluster; None outside a cluster."""
        host, port = variables.get("KUBERNETES_SERVICE_HOST"), variables.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (account / "token").is_file():
            return None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", account)

    def client(self) -> httpx.Client:
        """Return a client; OSError if the service account's certificates cannot be used."""
        trusted = ssl.create_default_context(cafile=self.account / "ca.crt")
        return httpx.Client(timeout=_TIMEOUT, verify=trusted, trust_env=False)

    def get(self, client: httpx.Client, path: str) -> httpx.Response:
        """Return the answer to a request for the object at a path."""
        return client.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {(self.account / 'token').read_text().strip()}"})

    def apply_status(
        self, client: httpx.Client, kind: str, plural: str, place: tuple[str, str], status: JsonValue, *, dry_run: bool = False
    ) -> httpx.Response:
        """Apply the runner's part of the status of one object, by its namespace and name, and return the answer."""
        namespace, name = place
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "status": status}
        options = {"fieldManager": RUNNER_FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return client.patch(
            f"{self.url}/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}/{name}/status",
            params={**options, "dryRun": "All"} if dry_run else options,
            headers={
                "Authorization": f"Bearer {(self.account / 'token').read_text().strip()}",
                "Content-Type": "application/apply-patch+yaml",
            },
            content=json.dumps(body, ensure_ascii=False),
        )
