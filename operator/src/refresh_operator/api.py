"""The transport to the API server: JSON in, JSON out, its refusals as our errors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Self

import aiohttp
from kubernetes.aio import client, config
from pydantic_core import from_json, to_json

from refresh_operator.errors import ApiError, Unavailable, api_error
from refresh_operator.world import Json

log = logging.getLogger(__name__)

_JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_TIMEOUT = 30.0
"""Seconds for one request."""
_SAME_TIME: Final = timedelta(seconds=5)
"""Clocks that are less apart are taken for the same: answers take their time, and say it to the second."""
_PAGE: Final = "100"
"""Objects in one answer to a list."""


class Api:
    """A connection to one API server; to be closed. What `may_write` forbids is not sent, and tried again later."""

    def __init__(self, configuration: client.Configuration, may_write: Callable[[], bool], clock: Callable[[], datetime]) -> None:
        self.ahead = timedelta(0)
        """How far the API server's clock is ahead of ours; nothing where they are about the same."""
        self._configuration = configuration
        self._may_write = may_write
        self._clock = clock
        # the client knows kubeconfigs and certificates; its own calls would take longer than the server does
        tls = client.ApiClient(configuration).rest_client.ssl_context
        # the API server is never behind the proxy that the environment may name for everything else
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), timeout=aiohttp.ClientTimeout(total=_TIMEOUT), trust_env=False
        )

    @classmethod
    async def connect(cls, kubeconfig: Path | None, clock: Callable[[], datetime], may_write: Callable[[], bool] = lambda: True) -> Self:
        """Return a connection by a kubeconfig, or else by the pod's own ServiceAccount."""
        configuration = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]  # generated
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # generated
        return cls(configuration, may_write, clock)

    async def close(self) -> None:
        """End the connection."""
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Return one object or list; NotFound if there is none."""
        return await self._call("GET", path, query or {})

    async def pages(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[tuple[list[Json], int]]:
        """Yield a whole collection in parts, each with the version that all of them are of: thousands of objects at once take memory."""
        wanted = {**(query or {}), "limit": _PAGE}
        while True:
            page = await self._call("GET", path, wanted)
            items, metadata = page.get("items"), page.get("metadata")
            about = metadata if isinstance(metadata, dict) else {}
            yield (
                [item for item in items if isinstance(item, dict)] if isinstance(items, list) else [],
                int(str(about.get("resourceVersion") or 0)),
            )
            if not about.get("continue"):
                return
            wanted["continue"] = str(about["continue"])

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
        if method != "GET" and not self._may_write():
            raise Unavailable(0, "this operator does not hold the Lease at the moment")
        payload = None if body is None else to_json(body)
        headers = {"Accept": _JSON, "Content-Type": content}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        try:
            url = self._configuration.host + path
            async with self._session.request(method, url, params=query, data=payload, headers=headers) as response:
                text, status = await response.read(), response.status
                self._compare_clocks(response.headers.get("Date", ""))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # noqa: UP041 - Python 3.10 and later have one of them
            raise Unavailable(0, f"the API server does not answer: {type(error).__name__}") from error
        if status >= 400:
            raise api_error(status, _message(text) or f"{method} {path}: HTTP {status}")
        return _object(text)

    def _compare_clocks(self, date: str) -> None:
        try:
            ahead = parsedate_to_datetime(date) - self._clock()
        except ValueError:
            return
        if abs(ahead) < _SAME_TIME:
            ahead = timedelta(0)
        if abs(ahead - self.ahead) >= _SAME_TIME:
            self.ahead = ahead
            log.warning("this machine's clock is %.0f s behind the API server's, whose time counts", ahead.total_seconds())


def _object(text: bytes) -> Json:
    found = from_json(text)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _message(text: bytes) -> str:
    """The message of the Status object that the API server answers with."""
    try:
        return str(_object(text).get("message", ""))
    except ValueError:
        return ""
