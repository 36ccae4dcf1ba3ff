"""An administrator's client for the API server. It is faster than kubectl, and can do what only a kubelet does."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import httpx

from refresh_api.objects import object_of

Json = dict[str, Any]
_GROUPS = {
    "dashboardrefreshes": "apis/dashboards.sigeti.io/v1alpha1",
    "refreshpreviews": "apis/dashboards.sigeti.io/v1alpha1",
    "cronjobs": "apis/batch/v1",
    "jobs": "apis/batch/v1",
    "roles": "apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "apis/rbac.authorization.k8s.io/v1",
    "clusterroles": "apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "apis/rbac.authorization.k8s.io/v1",
    "deployments": "apis/apps/v1",
    "gitrepositories": "apis/source.toolkit.fluxcd.io/v1",
    "ocirepositories": "apis/source.toolkit.fluxcd.io/v1",
    "buckets": "apis/source.toolkit.fluxcd.io/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "customresourcedefinitions": "apis/apiextensions.k8s.io/v1",
}


class ApiServer:
    """A connection as the administrator of a kubeconfig; methods raise AssertionError with the server's message."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server: str = cluster["server"]
        self.authority: str = cluster["certificate-authority-data"]
        context = ssl.create_default_context(cadata=base64.b64decode(self.authority).decode())
        pair = folder / "admin.pem"
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        context.load_cert_chain(pair)
        self._http = httpx.Client(base_url=self.server, verify=context, trust_env=False, timeout=20)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, namespace: str, plural: str, name: str = "", labels: str = "") -> Json | None:
        """Return an object, or a list of a kind where `name` is empty; None on 404."""
        answer = self._http.get(self.path_of(namespace, plural, name), params={"labelSelector": labels} if labels else {})
        if answer.status_code == 404:
            return None
        return self._read(answer)

    def items(self, namespace: str, plural: str, labels: str = "") -> list[Json]:
        """Return all objects of a kind."""
        return list((self.get(namespace, plural, labels=labels) or {})["items"])

    def column(self, namespace: str, plural: str, name: str) -> list[str]:
        """Return one column of `kubectl get`'s table, without fetching the objects."""
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        answer = self._read(self._http.get(self.path_of(namespace, plural), params={"includeObject": "None"}, headers=accept))
        position = [each["name"] for each in answer["columnDefinitions"]].index(name)
        return [row["cells"][position] for row in answer["rows"]]

    def create(self, namespace: str, plural: str, body: Json) -> Json:
        """Create an object; unknown fields are an error."""
        return self._read(self._http.post(self.path_of(namespace, plural), json=body, params={"fieldValidation": "Strict"}))

    def create_text(self, namespace: str, plural: str, text: str) -> Json:
        """Create an object from JSON text that Python's parsers reject; return the readable part of the response."""
        answer = self._http.post(self.path_of(namespace, plural), content=text.encode(), headers={"Content-Type": "application/json"})
        assert answer.is_success, answer.text[:2000]
        return object_of(answer.content)

    def read(self, namespace: str, plural: str, name: str) -> Json:
        """Return an object, parsed by `refresh_api.objects`."""
        return object_of(self._http.get(self.path_of(namespace, plural, name)).content)

    def raw(self, namespace: str, plural: str) -> bytes:
        """Return the bytes of a list."""
        return self._http.get(self.path_of(namespace, plural)).content

    def replace_text(self, namespace: str, plural: str, name: str, patch: str) -> None:
        """Merge-patch an object with JSON text."""
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self._http.patch(self.path_of(namespace, plural, name), content=patch.encode(), headers=headers)
        assert answer.is_success, answer.text[:2000]

    def dry_run_create(self, namespace: str, plural: str, body: Json) -> tuple[bool, Json]:
        """Create an object as a dry run; return whether it is accepted, and the object or the Status. Unknown fields are an error."""
        answer = self._http.post(self.path_of(namespace, plural), json=body, params={"dryRun": "All", "fieldValidation": "Strict"})
        return answer.is_success, answer.json()

    def patch(self, namespace: str, plural: str, name: str, body: Json, status: bool = False) -> Json:
        """Merge-patch an object or its status subresource."""
        path = self.path_of(namespace, plural, name) + ("/status" if status else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._read(self._http.patch(path, content=json.dumps(body), headers=headers))

    def apply_status(self, namespace: str, name: str, body: Json, manager: str, plural: str = "dashboardrefreshes") -> Json:
        """Server-side apply a part of the status of a refresh, or of an object of another kind, as a field manager."""
        path = self.path_of(namespace, plural, name) + "/status"
        params = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return self._read(
            self._http.patch(path, content=json.dumps(body), params=params, headers={"Content-Type": "application/apply-patch+yaml"})
        )

    def delete(self, namespace: str, plural: str, name: str, propagation: str = "Background") -> None:
        """Delete an object; a missing one is no error."""
        self._http.delete(self.path_of(namespace, plural, name), params={"propagationPolicy": propagation})

    def as_account(self, namespace: str, account: str) -> httpx.Client:
        """Return an HTTP client with the token of a ServiceAccount."""
        context = ssl.create_default_context(cadata=base64.b64decode(self.authority).decode())
        headers = {"Authorization": f"Bearer {self.token(namespace, account)}"}
        return httpx.Client(base_url=self.server, verify=context, headers=headers, trust_env=False, timeout=20)

    def token(self, namespace: str, account: str) -> str:
        """Return a token of a ServiceAccount, valid for one hour."""
        path = self.path_of(namespace, "serviceaccounts", account) + "/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        return str(self._read(self._http.post(path, json=asked))["status"]["token"])

    def text(self, path: str) -> str:
        """Return the text of any path, for example /metrics."""
        return self._http.get(path).text

    @staticmethod
    def path_of(namespace: str, plural: str, name: str = "") -> str:
        """Return the path of an object or a list."""
        prefix = _GROUPS.get(plural, "api/v1")
        parts = [prefix, *(["namespaces", namespace] if namespace else []), plural, name]
        return "/" + "/".join(part for part in parts if part)

    @staticmethod
    def _read(answer: httpx.Response) -> Json:
        body: Json = answer.json()
        assert answer.is_success, f"{answer.request.method} {answer.request.url.path}: {body.get('message', body)}"
        return body
