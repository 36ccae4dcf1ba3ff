"""What kopf is given of an object: an envelope with its name on it, and the object's JSON text within, unopened.

kopf parses whatever the API server sends, and ends where it can't; what it keeps and compares it has no use for here. So its own
connection puts each object into an envelope first, of which kopf reads the metadata that it needs, and the handlers the rest.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import aiohttp
import kopf
from pydantic_core import from_json, to_json

from refresh_api.objects import Json, ListReader, event_of
from refresh_operator.state.kube_types import mapping

_TEXT: Final = "text"
"""Where an envelope holds the object's text."""
_SHOWN: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_EVENTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
"""Events that bring an object; the others are about the watch itself."""
_CHUNK: Final = 2**16


def unwrap(envelope: Mapping[str, Any]) -> Json:
    """Return the object in an envelope, without what can't be read of it."""
    found = from_json(envelope[_TEXT])
    return found if isinstance(found, dict) else {}


def kopf_session(login: kopf.ConnectionInfo) -> kopf.AiohttpSession:
    """Return kopf's connection by these credentials, which puts all that it brings into envelopes."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=login.as_ssl_context()),
        headers=login.as_http_headers(),
        trust_env=login.trust_env,
        response_class=_Response,
    )
    return kopf.AiohttpSession(
        server=login.server, default_namespace=login.default_namespace, priority=login.priority, aiohttp_session=session
    )


def wrap_event(line: bytes) -> bytes:
    """Return one line of a watch with its object in an envelope; a line that is about the watch itself as it is."""
    kind, item = event_of(line)
    return to_json({"type": kind, "object": _envelope(item)}) if kind in _EVENTS else line


def _envelope(item: Json) -> Json:
    metadata = mapping(item.get("metadata"))
    shown: Json = {name: metadata[name] for name in _SHOWN if isinstance(metadata.get(name), str)}
    head: Json = {name: value for name in ("apiVersion", "kind") if isinstance(value := item.get(name), str)}
    return {**head, "metadata": {"name": "", **shown}, _TEXT: to_json(item).decode()}


class _Response(aiohttp.ClientResponse):
    """An answer to kopf."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:  # noqa: ANN401 - aiohttp's own
        """Begin to read; a watch is read line by line."""
        started = await super().start(connection)
        if self.url.query.get("watch") == "true" and self.status == 200:
            self.content = cast("aiohttp.StreamReader", _Events(self.content))
        return started

    async def json(self, **options: Any) -> Any:  # noqa: ANN401 - aiohttp's own
        """Return the answer; the items of a list are in envelopes."""
        if self.status != 200 or "limit" not in self.url.query:
            return await super().json(**options)
        reader, items = ListReader(), list[Json]()
        try:
            async for chunk in self.content.iter_chunked(_CHUNK):
                items += map(_envelope, reader.feed(chunk))
            last, rest = reader.end()
        except ValueError as error:
            raise aiohttp.ClientPayloadError(f"a list that can't be read: {error}") from error
        return {**rest, "items": [*items, *map(_envelope, last)]}


def _lined(line: bytes) -> bytes:
    try:
        return wrap_event(line) + b"\n"
    except ValueError as error:
        # kopf begins another watch then; of any other error it would die
        raise aiohttp.ClientPayloadError(f"an event that can't be read: {error}") from error


class _Events:
    """The lines of a watch, each with its object in an envelope."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the stream's
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield whole lines."""
        rest: list[bytes] = []
        async for chunk in self._content.iter_chunked(size):
            *lines, last = chunk.split(b"\n")
            for line in lines:
                whole = b"".join([*rest, line])
                rest = []
                if whole.strip():
                    yield _lined(whole)
            rest.append(last)
