"""HTTP client for the API server: takes and returns JSON, and raises an ApiError for every error response."""

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
"""Timeout of one request in seconds."""
_MIN_CLOCK_OFFSET: Final = timedelta(seconds=5)
"""Smaller differences between clocks are ignored: responses are delayed, and their dates are in seconds."""
_PAGE: Final = "100"
"""Maximum number of objects in one page of a list."""
_CHUNK: Final = 2**16
_MAX_OBJECT: Final = 2**22
"""Maximum number of bytes of one object: a Secret has at most a megabyte."""


class KubeClient:
    """A connection to one API server, which must be closed. Writes to paths for which `may_write` returns false raise Unavailable."""

    def __init__(self, configuration: client.Configuration, may_write: Callable[[str], bool], clock: Callable[[], datetime]) -> None:
        self.clock_offset = timedelta(0)
        """How far the API server's clock is ahead of this machine's; zero if they agree."""
        self.refused_since: datetime | None = None
        """When the current series of 401 Unauthorized responses began."""
        self._configuration = configuration
        self._may_write = may_write
        self._clock = clock
        # the Kubernetes client only loads kubeconfigs and certificates: its calls are slower than the server
        tls = client.ApiClient(configuration).rest_client.ssl_context
        # the API server is never reached through the proxy that the environment may set
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), timeout=aiohttp.ClientTimeout(total=_TIMEOUT), trust_env=False
        )

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None, clock: Callable[[], datetime], may_write: Callable[[str], bool] = lambda _path: True
    ) -> Self:
        """Return a connection that uses a kubeconfig, or the pod's ServiceAccount if none is given."""
        configuration = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]  # generated
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # generated
        return cls(configuration, may_write, clock)

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Return one object or list. Raise NotFound if it does not exist."""
        return await self._call("GET", path, query or {})

    async def get_metadata(self, path: str) -> Json:
        """Return only an object's metadata. Raise NotFound if it does not exist."""
        async with self._respond("GET", path, {}, accept=_METADATA) as response:
            return object_of(await response.read(), _MAX_OBJECT)

    async def list_pages(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[tuple[list[Json], int]]:
        """Yield a collection in parts: thousands of objects at once need too much memory.

        The number is the resource version of the collection, or 0 in all parts but the last of a page.
        """
        parameters = {**(query or {}), "limit": _PAGE}
        while True:
            reader = ListReader()
            async with self._respond("GET", path, parameters) as response:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    if items := reader.feed(chunk):
                        yield items, 0
                        # lets the probes respond while a long list is parsed
                        await asyncio.sleep(0)
                items, page = reader.end()
            metadata = mapping(page.get("metadata"))
            version = str(metadata.get("resourceVersion"))
            yield items, int(version) if version.isascii() and version.isdigit() else 0
            if not metadata.get("continue"):
                return
            parameters["continue"] = str(metadata["continue"])

    async def create(self, path: str, body: Json) -> Json:
        """Create an object. Raise Conflict if it already exists."""
        return await self._call("POST", path, {}, body)

    async def replace(self, path: str, body: Json) -> Json:
        """Replace an object. Raise Conflict if its resource version is outdated."""
        return await self._call("PUT", path, {}, body)

    async def merge(self, path: str, body: Json) -> Json:
        """Change the fields in the body with a merge patch."""
        return await self._call("PATCH", path, {}, body, MERGE)

    async def apply(self, path: str, body: Json, manager: str) -> Json:
        """Apply the body server-side. This field manager then owns exactly the fields in the body."""
        return await self._call("PATCH", path, {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}, body, APPLY)

    async def delete(self, path: str) -> None:
        """Delete an object and, in the background, the objects that it owns. Do nothing if it does not exist."""
        try:
            await self._call("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def _call(self, method: str, path: str, query: Mapping[str, str], body: Json | None = None, content: str = _JSON) -> Json:
        if method != "GET" and not self._may_write(path):
            raise Unavailable(0, "this operator does not hold the Lease that this write requires")
        async with self._respond(method, path, query, body, content) as response:
            return object_of(await response.read(), _MAX_OBJECT)

    @asynccontextmanager
    async def _respond(
        self, method: str, path: str, query: Mapping[str, str], body: Json | None = None, content: str = _JSON, accept: str = _JSON
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful response. Raise the ApiError of an error response, or Unavailable if there is no readable response."""
        payload = None if body is None else to_json(body)
        headers = {"Accept": accept, "Content-Type": content}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        try:
            url = self._configuration.host + path
            async with self._session.request(method, url, params=query, data=payload, headers=headers) as response:
                self._compare_clocks(response.headers.get("Date", ""))
                self.refused_since = (self.refused_since or self._clock()) if response.status == 401 else None
                if response.status >= 400:
                    raise api_error(response.status, _message(await response.read()) or f"{method} {path}: HTTP {response.status}")
                yield response
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # noqa: UP041 - Python 3.10 and later have one of them
            raise Unavailable(0, f"the API server does not respond: {type(error).__name__}") from error
        except ValueError as error:
            raise Unavailable(0, f"cannot parse the response to {method} {path}: {error}") from error

    def _compare_clocks(self, date: str) -> None:
        try:
            ahead = parsedate_to_datetime(date) - self._clock()
        except ValueError:
            return
        if abs(ahead) < _MIN_CLOCK_OFFSET:
            ahead = timedelta(0)
        if abs(ahead - self.clock_offset) >= _MIN_CLOCK_OFFSET:
            self.clock_offset = ahead
            log.warning("using the API server's time: this machine's clock is %.0f s behind it", ahead.total_seconds())


def _message(text: bytes) -> str:
    """Return the message of the Status object in an error response."""
    try:
        return str(object_of(text).get("message", ""))
    except ValueError:
        return ""
