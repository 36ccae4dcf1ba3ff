"""The transport to the API server: JSON in, JSON out, its refusals as our errors."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import aiohttp
from kubernetes.aio import client, config
from pydantic import TypeAdapter, ValidationError

from refresh_operator.errors import ApiError, Unavailable, api_error
from refresh_operator.world import Json

_JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_TIMEOUT = 30.0
"""Seconds for one request."""
_OBJECT = TypeAdapter(Json)


@dataclass(frozen=True)
class Kind:
    """How a kind is addressed."""

    name: str
    prefix: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of the collection (of all namespaces where none is named), or of one object."""
        parts = [self.prefix, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/" + "/".join(part for part in parts if part)


class Api:
    """A connection to one API server; to be closed."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._client = client.ApiClient(configuration)

    @classmethod
    async def connect(cls, kubeconfig: Path | None) -> Self:
        """Return a connection by a kubeconfig, or else by the pod's own ServiceAccount."""
        configuration = client.Configuration()
        # the API server is never behind the proxy that the environment may name for everything else
        configuration.client_session_kwargs = {"trust_env": False}
        if kubeconfig:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]  # generated
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # generated
        return cls(configuration)

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()  # type: ignore[no-untyped-call]  # generated

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Return one object or list; NotFound if there is none."""
        return await self._call("GET", path, query or {})

    async def create(self, path: str, body: Json) -> Json:
        """Make an object; Conflict if it is there already."""
        return await self._call("POST", path, {}, body)

    async def replace(self, path: str, body: Json) -> Json:
        """Put an object in the place of the version that it names; Conflict if that was changed since."""
        return await self._call("PUT", path, {}, body)

    async def merge(self, path: str, body: Json) -> Json:
        """Change the fields that the body names."""
        return await self._call("PATCH", path, {}, body, MERGE)

    async def apply(self, path: str, body: Json, manager: str) -> Json:
        """Server-side apply: the body is all that this manager has to say."""
        return await self._call("PATCH", path, {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}, body, APPLY)

    async def delete(self, path: str) -> None:
        """Delete an object and, in the background, what it owns; one that is gone already is fine."""
        try:
            await self._call("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def _call(self, method: str, path: str, query: Mapping[str, str], body: Json | None = None, content: str = _JSON) -> Json:
        try:
            verb, url, headers, payload, _ = await self._client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": _JSON, "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(verb, url, headers, payload, _request_timeout=_TIMEOUT)
            text = await response.read()  # type: ignore[no-untyped-call]  # generated
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # noqa: UP041 - Python 3.10 and later have one of them
            raise Unavailable(0, f"the API server does not answer: {type(error).__name__}") from error
        if response.status >= 400:
            raise api_error(response.status, _message(text) or f"{method} {path}: HTTP {response.status}")
        return _OBJECT.validate_json(text)


def _message(text: bytes) -> str:
    """The message of the Status object that the API server answers with."""
    try:
        return str(_OBJECT.validate_json(text).get("message", ""))
    except (ValidationError, json.JSONDecodeError):
        return ""
