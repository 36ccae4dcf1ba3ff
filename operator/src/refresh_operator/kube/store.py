"""A copy of every watched object, so that a reconciliation needs no requests to read them.

Objects are kept as JSON text, which takes a tenth of the memory of parsed objects. Each is kept in the newest version from a watch, a
list or the response to a write. An older version neither replaces a newer one nor restores a deleted object.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from refresh_api.names import PREVIEW_KIND, PREVIEW_LABEL, REFRESH_LABEL
from refresh_api.objects import LARGEST, UNREADABLE, Json, object_of, unreadable, without_noise
from refresh_operator.kube.resources import PREVIEWS, RECONCILED, REFRESHES, Kind
from refresh_operator.names import Ref
from refresh_operator.state.kube_types import mapping

log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Kind, namespace, name."""


@dataclass(frozen=True)
class _Copy:
    version: int
    text: bytes
    refresh: Ref
    """The refresh or preview itself, or the one that the object's labels name."""


class Store:
    """The watched objects by kind, namespace and name, and by the refresh or preview that they belong to."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        """Set once all objects have been listed: from then on, an object that is not in the store does not exist."""
        self._copies: dict[Key, _Copy] = {}
        self._deleted: dict[Key, int] = {}
        self._by_refresh: dict[tuple[str, Ref], set[str]] = {}
        self._stale: dict[Key, tuple[int, int]] = {}
        """Changes that a list has shown but no watch has reported yet: the version and the number of the resync."""
        self._resyncs = 0

    def put(self, kind: Kind, item: Json, *, from_watch: bool = False) -> Ref | None:
        """Store an object and return its refresh, or None if this version is not new."""
        known = _identity(kind, item)
        if known is None:
            return None
        key, version, refresh = known
        if from_watch:
            self._confirm(key, version)
        copy = self._copies.get(key)
        if refresh is None:
            return None  # no watch will report its deletion
        if version <= max(copy.version if copy else 0, self._deleted.get(key, 0)):
            return None
        self._drop(key)
        self._copies[key] = _Copy(version, _text(item), refresh)
        self._by_refresh.setdefault((kind.name, refresh), set()).add(key[2])
        return refresh

    def remove(self, kind: Kind, item: Json) -> Ref | None:
        """Remove an object that a watch has reported as deleted; return its refresh."""
        known = _identity(kind, item)
        if known is None:
            return None
        key, version, refresh = known
        self._confirm(key, version)
        copy = self._copies.get(key)
        self._deleted[key] = max(version, self._deleted.get(key, 0))
        if copy and copy.version > version:
            return None  # recreated since
        self._drop(key)
        return refresh

    def put_page(self, kind: Kind, items: Iterable[Json]) -> tuple[set[Key], set[Ref]]:
        """Store a part of a list; return the keys of its objects, and the refreshes with changes."""
        listed: set[Key] = set()
        changed: set[Ref] = set()
        for item in items:
            known = _identity(kind, item)
            if known is None:
                continue
            key, of, _ = known
            listed.add(key)
            if ref := self.put(kind, item):
                changed.add(ref)
                self._stale[key] = (of, self._resyncs)
        return listed, changed

    def prune(self, kind: Kind, namespace: str, listed: Set[Key], version: int) -> set[Ref]:
        """Remove the objects that a complete list of `version` does not contain, and return their refreshes."""
        changed = set()
        unlisted = [key for key in self._copies if key[0] == kind.name and namespace in ("", key[1]) and key not in listed]
        for key in unlisted:
            if self._copies[key].version <= version:
                changed.add(self._copies[key].refresh)
                self._deleted[key] = version
                self._stale[key] = (version, self._resyncs)
                self._drop(key)
        self._deleted = {key: deleted for key, deleted in self._deleted.items() if key[0] != kind.name or deleted > version}
        return changed

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return one object, or None if it does not exist."""
        copy = self._copies.get((kind.name, namespace, name))
        return from_json(copy.text) if copy else None

    def by_refresh(self, kind: Kind, ref: Ref) -> list[Json]:
        """Return the objects of a kind with the refresh's label, ordered by name."""
        names = sorted(self._by_refresh.get((kind.name, ref), ()))
        return [item for name in names if (item := self.get(kind, ref.namespace, name))]

    def begin_resync(self) -> None:
        """Start a resync: a watch must report what a list shows from now on before the next resync."""
        self._resyncs += 1

    @property
    def stale_kinds(self) -> list[str]:
        """Kinds whose watch has not reported a change that an earlier resync showed."""
        return sorted({key[0] for key, (_, since) in self._stale.items() if since < self._resyncs})

    def refreshes(self) -> Iterator[Ref]:
        """Yield all refreshes."""
        return (Ref(key[1], key[2]) for key in list(self._copies) if key[0] == REFRESHES.name)

    def previews(self, namespace: str) -> Iterator[Json]:
        """Yield the previews of a namespace."""
        names = [key[2] for key in self._copies if key[:2] == (PREVIEWS.name, namespace)]
        return (item for name in names if (item := self.get(PREVIEWS, namespace, name)))

    def namespaces(self) -> set[str]:
        """Return the namespaces with refreshes or previews."""
        kinds = {kind.name for kind in RECONCILED}
        return {key[1] for key in list(self._copies) if key[0] in kinds}

    def _confirm(self, key: Key, version: int) -> None:
        if key in self._stale and version >= self._stale[key][0]:
            del self._stale[key]

    def _drop(self, key: Key) -> None:
        copy = self._copies.pop(key, None)
        if copy:
            names = self._by_refresh[(key[0], copy.refresh)]
            names.discard(key[2])
            if not names:
                del self._by_refresh[(key[0], copy.refresh)]


def _text(item: Json) -> bytes:
    """Return an object as JSON text, without its unreadable parts if it is too long."""
    text = to_json(without_noise(item))
    if len(text) <= LARGEST:
        return text
    rest = object_of(text)
    said: Json = {**unreadable(item), **unreadable(rest)}
    return to_json({**rest, UNREADABLE: said})


def _identity(kind: Kind, item: Json) -> tuple[Key, int, Ref | None] | None:
    """Return an object's key, version and refresh; None if it has no name or version."""
    metadata = mapping(item.get("metadata"))
    namespace, name, version = str(metadata.get("namespace") or ""), metadata.get("name"), str(metadata.get("resourceVersion"))
    if not isinstance(name, str) or not name or not (version.isascii() and version.isdigit()):
        log.warning("ignoring a %s in %s without a name or resourceVersion", kind.name, namespace or "the cluster")
        return None
    return (kind.name, namespace, name), int(version), _owner(kind, namespace, name, mapping(metadata.get("labels")))


def _owner(kind: Kind, namespace: str, name: str, labels: Json) -> Ref | None:
    if kind in RECONCILED:
        return Ref(namespace, name, kind.name)
    if preview := labels.get(PREVIEW_LABEL):
        return Ref(namespace, str(preview), PREVIEW_KIND)
    refresh = labels.get(REFRESH_LABEL)
    return Ref(namespace, str(refresh)) if refresh else None
