"""The transport to the API server: JSON in, JSON out, its refusals as our errors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Self

import aiohttp
from kubernetes.aio import client, config
from pydantic_core import to_json

from refresh_api.objects import Json, ListReader, object_of
from refresh_operator.errors import ApiError, Unavailable, api_error
from refresh_operator.state.kube_types import mapping

log = logging.getLogger(__name__)

_JSON: Final = "application/json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_TIMEOUT = 30.0
"""Seconds for one request."""
_SAME_TIME: Final = timedelta(seconds=5)
"""Clocks that are less apart are taken for the same: answers take their time, and say it to the second."""
_PAGE: Final = "100"
"""Objects in one answer to a list."""
_CHUNK: Final = 2**16
_LARGEST: Final = 2**22
"""Bytes of one object that was asked for by its name: a Secret takes a megabyte."""


class KubeClient:
    """A connection to one API server; to be closed. What `may_write` forbids is not sent, and tried again later."""

    def __init__(self, configuration: client.Configuration, may_write: Callable[[], bool], clock: Callable[[], datetime]) -> None:
        self.clock_offset = timedelta(0)
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

    async def get_metadata(self, path: str) -> Json:
        """Return an object's metadata alone; NotFound if there is none."""
        async with self._answer("GET", path, {}, accept=_METADATA) as response:
            return object_of(await response.read(), _LARGEST)

    async def list_pages(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[tuple[list[Json], int]]:
        """Yield a whole collection in parts, the last of them with the version that all are of: thousands at once would take memory."""
        wanted = {**(query or {}), "limit": _PAGE}
        while True:
            reader = ListReader()
            async with self._answer("GET", path, wanted) as response:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    if items := reader.feed(chunk):
                        yield items, 0
                        # such a list takes its time, and probes are answered meanwhile
                        await asyncio.sleep(0)
                items, page = reader.end()
            about = mapping(page.get("metadata"))
            version = str(about.get("resourceVersion"))
            yield items, int(version) if version.isascii() and version.isdigit() else 0
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
        async with self._answer(method, path, query, body, content) as response:
            return object_of(await response.read(), _LARGEST)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: Json | None = None, content: str = _JSON, accept: str = _JSON
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is no refusal; Unavailable where none comes, or none that can be read."""
        payload = None if body is None else to_json(body)
        headers = {"Accept": accept, "Content-Type": content}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        try:
            url = self._configuration.host + path
            async with self._session.request(method, url, params=query, data=payload, headers=headers) as response:
                self._compare_clocks(response.headers.get("Date", ""))
                if response.status >= 400:
                    raise api_error(response.status, _message(await response.read()) or f"{method} {path}: HTTP {response.status}")
                yield response
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # noqa: UP041 - Python 3.10 and later have one of them
            raise Unavailable(0, f"the API server does not answer: {type(error).__name__}") from error
        except ValueError as error:
            raise Unavailable(0, f"the API server's answer to {method} {path} can't be read: {error}") from error

    def _compare_clocks(self, date: str) -> None:
        try:
            ahead = parsedate_to_datetime(date) - self._clock()
        except ValueError:
            return
        if abs(ahead) < _SAME_TIME:
            ahead = timedelta(0)
        if abs(ahead - self.clock_offset) >= _SAME_TIME:
            self.clock_offset = ahead
            log.warning("this machine's clock is %.0f s behind the API server's, whose time counts", ahead.total_seconds())


def _message(text: bytes) -> str:
    """The message of the Status object that the API server answers with."""
    try:
        return str(object_of(text).get("message", ""))
    except ValueError:
        return ""
