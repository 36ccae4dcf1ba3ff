"""HTTP session for kopf that wraps each object in an envelope: the metadata that kopf needs, and the object as JSON text.

kopf parses every object that the API server sends, and stops if it cannot parse one. It also copies and compares objects, which this
operator does not need. With envelopes, kopf handles only a few fields, and the handlers parse the text themselves.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import aiohttp
import kopf
from pydantic_core import from_json, to_json

from refresh_api.objects import Json, ListReader, event_of
from refresh_operator.state.kube_types import mapping

_TEXT: Final = "text"
"""The field of an envelope that holds the object's JSON text."""
_METADATA_FIELDS: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
_EVENTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
"""Events with an object; the others are about the watch itself."""
_CHUNK: Final = 2**16


def unwrap(envelope: Mapping[str, Any]) -> Json:
    """Return the object in an envelope."""
    found = from_json(envelope[_TEXT])
    return found if isinstance(found, dict) else {}


def kopf_session(login: kopf.ConnectionInfo) -> kopf.AiohttpSession:
    """Return a session for kopf with these credentials, which wraps all objects."""
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
    """Return one line of a watch with its object wrapped. Lines about the watch itself stay unchanged."""
    kind, item = event_of(line)
    return to_json({"type": kind, "object": _envelope(item)}) if kind in _EVENTS else line


def _envelope(item: Json) -> Json:
    metadata = mapping(item.get("metadata"))
    fields: Json = {name: metadata[name] for name in _METADATA_FIELDS if isinstance(metadata.get(name), str)}
    head: Json = {name: value for name in ("apiVersion", "kind") if isinstance(value := item.get(name), str)}
    return {**head, "metadata": {"name": "", **fields}, _TEXT: to_json(item).decode()}


class _Response(aiohttp.ClientResponse):
    """A response whose objects are wrapped."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:  # noqa: ANN401 - aiohttp's own
        """Start reading. A watch is read line by line."""
        started = await super().start(connection)
        if self.url.query.get("watch") == "true" and self.status == 200:
            self.content = cast("aiohttp.StreamReader", _Events(self.content))
        return started

    async def json(self, **options: Any) -> Any:  # noqa: ANN401 - aiohttp's own
        """Return the response. The items of a list are wrapped."""
        if self.status != 200 or "limit" not in self.url.query:
            return await super().json(**options)
        reader, items = ListReader(), list[Json]()
        try:
            async for chunk in self.content.iter_chunked(_CHUNK):
                items += map(_envelope, reader.feed(chunk))
            last, rest = reader.end()
        except ValueError as error:
            raise aiohttp.ClientPayloadError(f"cannot parse a list: {error}") from error
        return {**rest, "items": [*items, *map(_envelope, last)]}


def _lined(line: bytes) -> bytes:
    try:
        return wrap_event(line) + b"\n"
    except ValueError as error:
        # kopf restarts the watch after this error, but stops after any other
        raise aiohttp.ClientPayloadError(f"cannot parse an event: {error}") from error


class _Events:
    """The lines of a watch, with wrapped objects."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is delegated
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield complete lines."""
        rest: list[bytes] = []
        async for chunk in self._content.iter_chunked(size):
            *lines, last = chunk.split(b"\n")
            for line in lines:
                whole = b"".join([*rest, line])
                rest = []
                if whole.strip():
                    yield _lined(whole)
            rest.append(last)
