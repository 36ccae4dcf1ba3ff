"""Lists and watches DashboardRefreshes and RefreshPreviews. This is the page's only access to Kubernetes, and it never writes."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import httpx

from refresh_api.names import GROUP, PLURAL, PREVIEW_PLURAL, VERSION
from refresh_api.objects import Json, ListReader, event_of, object_of
from refresh_page.kube.models import Ref, ref_of, refresh_of
from refresh_page.kube.previews import preview_of
from refresh_page.kube.store import Store

log = logging.getLogger(__name__)

_PAGE_SIZE: Final = "500"
"""Objects in one page of a list."""
_WATCH_SECONDS: Final = 60
"""Seconds after which the server ends a watch, so that a connection which died silently is noticed soon."""
_TIMEOUT: Final = 15.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0
_MISSING_DELAY: Final = 60.0
"""Seconds until the page looks again for a kind that the API server does not have."""


class ApiServerError(Exception):
    """The API server rejected a request or did not respond; the message says why."""


class ResourceExpired(ApiServerError):  # noqa: N818 - the API server's reason is Expired
    """The resourceVersion of a watch is too old: list again."""


class ResourceMissing(ApiServerError):  # noqa: N818
    """The API server has no such kind, or the page may not read it."""


Item = TypeVar("Item")
Kept = TypeVar("Kept", contravariant=True)


class Target(Protocol[Kept]):
    """What a watch keeps up to date."""

    def replace(self, namespace: str, items: Iterable[Kept], /) -> None:
        """Replace all objects of a namespace (empty: of the cluster)."""

    def put(self, item: Kept, /) -> None:
        """Add or replace an object."""

    def remove(self, ref: Ref, /) -> None:
        """Remove a deleted object."""


@dataclass(frozen=True)
class _Collection(Generic[Item]):
    """One kind of object: how to parse it, and where it is kept."""

    plural: str
    parse: Callable[[Json], Item]
    target: Target[Item]

    def path(self, namespace: str) -> str:
        return f"/apis/{GROUP}/{VERSION}/" + (f"namespaces/{namespace}/" if namespace else "") + self.plural

    def items(self, found: Iterable[Json]) -> Iterator[Item]:
        for item in found:
            try:
                yield self.parse(item)
            except ValueError as error:
                log.warning("ignoring an object: %s", error)

    def apply(self, kind: str, item: Json) -> str:
        """Apply a watch event to the store; return the resourceVersion that the watch has reached."""
        if kind == "ERROR":
            code = item.get("code")
            _raise_for_status(code if isinstance(code, int) else 500, item)
        if kind == "DELETED":
            self.target.remove(ref_of(item))
        elif kind != "BOOKMARK":
            for each in self.items([item]):
                self.target.put(each)
        metadata = item.get("metadata")
        return str(metadata.get("resourceVersion") or "") if isinstance(metadata, dict) else ""


class RefreshWatcher:
    """A client of the API server that keeps a store up to date; it uses the ServiceAccount's token if there is one."""

    def __init__(self, url: str, account: Path, now: Callable[[], datetime]) -> None:
        self._url = url
        self._account = account
        self._now = now

    async def run(self, namespace: str, store: Store) -> None:
        """Keep the store up to date with a namespace (empty: with the whole cluster) until cancelled."""
        refreshes = _Collection(PLURAL, refresh_of, store)
        delay = _FIRST_DELAY
        while True:
            try:
                async with self._client() as client:
                    version = await self._list(client, namespace, refreshes)
                    delay = _FIRST_DELAY
                    while True:
                        store.mark_reachable(namespace)
                        version = await self._watch(client, namespace, version, refreshes)
            except ResourceExpired:
                continue
            except (ApiServerError, httpx.HTTPError, OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                log.warning("cannot watch the refreshes of %s: %s", namespace or "the cluster", reason)
                store.mark_unreachable(namespace, self._now(), reason)
            await asyncio.sleep(delay)
            delay = min(_LONGEST_DELAY, 2 * delay)

    async def run_previews(self, namespace: str, store: Store) -> None:
        """Do the same for previews. Without their CRD there are none; the watch of refreshes says when the API server does not respond."""
        previews = _Collection(PREVIEW_PLURAL, preview_of, store.previews)
        while True:
            delay = _LONGEST_DELAY
            try:
                async with self._client() as client:
                    version = await self._list(client, namespace, previews)
                    while True:
                        version = await self._watch(client, namespace, version, previews)
            except ResourceExpired:
                continue
            except ResourceMissing as error:
                log.info("no previews are shown: %s", error)
                delay = _MISSING_DELAY
            except (ApiServerError, httpx.HTTPError, OSError, ValueError) as error:
                log.warning("cannot watch the previews of %s: %s", namespace or "the cluster", str(error) or type(error).__name__)
            await asyncio.sleep(delay)

    def _client(self) -> httpx.AsyncClient:
        authority = self._account / "ca.crt"
        trusted = ssl.create_default_context(cafile=authority) if authority.is_file() else True
        # the API server is never behind the proxy of the environment
        return httpx.AsyncClient(base_url=self._url, verify=trusted, trust_env=False, timeout=_TIMEOUT)

    def _headers(self) -> dict[str, str]:
        token = self._account / "token"  # Kubernetes renews it every hour
        return {"Authorization": f"Bearer {token.read_text().strip()}"} if token.is_file() else {}

    async def _list(self, client: httpx.AsyncClient, namespace: str, collection: _Collection[Item]) -> str:
        found: list[Item] = []
        parameters = {"limit": _PAGE_SIZE}
        while True:
            reader = ListReader()
            async with client.stream("GET", collection.path(namespace), params=parameters, headers=self._headers()) as response:
                if response.status_code != 200:
                    _raise_for_status(response.status_code, object_of(await response.aread()))
                async for chunk in response.aiter_bytes():
                    found += collection.items(reader.feed(chunk))
                    await asyncio.sleep(0)
            items, page = reader.end()
            found += collection.items(items)
            metadata = page.get("metadata")
            about = metadata if isinstance(metadata, dict) else {}
            if not about.get("continue"):
                collection.target.replace(namespace, found)
                return str(about.get("resourceVersion", ""))
            parameters["continue"] = str(about["continue"])

    async def _watch(self, client: httpx.AsyncClient, namespace: str, version: str, collection: _Collection[Item]) -> str:
        parameters = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS), "resourceVersion": version}
        timeout = httpx.Timeout(_TIMEOUT, read=_WATCH_SECONDS + _TIMEOUT)
        async with client.stream(
            "GET", collection.path(namespace), params=parameters, headers=self._headers(), timeout=timeout
        ) as response:
            if response.status_code != 200:
                _raise_for_status(response.status_code, object_of(await response.aread()))
            async for line in _lines(response):
                version = collection.apply(*event_of(line)) or version
        return version


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the lines. httpx would also split at Unicode line separators, which a message may contain."""
    rest: list[bytes] = []
    async for chunk in response.aiter_bytes():
        *whole, last = chunk.split(b"\n")
        for end in whole:
            line = b"".join([*rest, end])
            rest = []
            if line.strip():
                yield line
        rest.append(last)


def _raise_for_status(status: int, body: Json) -> None:
    if status == 410:
        raise ResourceExpired("the resourceVersion is too old")
    if status in (403, 404):
        raise ResourceMissing(f"API server: {body.get('message') or f'HTTP {status}'}")
    if status >= 400:
        raise ApiServerError(f"API server: {body.get('message') or f'HTTP {status}'}")
