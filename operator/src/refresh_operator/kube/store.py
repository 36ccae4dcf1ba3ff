"""What the API server has, as far as its watches told: a copy of every object that counts, so that a look asks for nothing.

Kept as JSON texts, a tenth of what parsed objects take. Each object is there in the newest version that anybody handed in: a watch,
a list, or the answer to a write of ours. An old version never replaces a newer one, and never brings back what was deleted.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from refresh_api.names import REFRESH_LABEL
from refresh_api.objects import LARGEST, UNREADABLE, Json, object_of, unreadable, without_noise
from refresh_operator.kube.resources import REFRESHES, Kind
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
    """The refresh that it is, or belongs to by its label."""


class Store:
    """The objects, by kind, namespace and name, and by the refresh that they belong to."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        """Set once everything was listed: what is not here by then is not there."""
        self._copies: dict[Key, _Copy] = {}
        self._deleted: dict[Key, int] = {}
        self._belongings: dict[tuple[str, Ref], set[str]] = {}
        self._untold: dict[Key, tuple[int, int]] = {}
        """What a list brought to light and no watch has told yet: its version, and in which round of lists."""
        self._round = 0

    def put(self, kind: Kind, item: Json, *, from_watch: bool = False) -> Ref | None:
        """Take an object, `told` by its watch or not; return the refresh that it concerns, None where this version brings nothing new."""
        known = _identity(kind, item)
        if known is None:
            return None
        key, version, refresh = known
        if from_watch:
            self._is_told(key, version)
        there = self._copies.get(key)
        if refresh is None:
            return None  # no watch would tell of its end
        if version <= max(there.version if there else 0, self._deleted.get(key, 0)):
            return None
        self._forget(key)
        self._copies[key] = _Copy(version, _text(item), refresh)
        self._belongings.setdefault((kind.name, refresh), set()).add(key[2])
        return refresh

    def remove(self, kind: Kind, item: Json) -> Ref | None:
        """Forget an object whose watch told that it was deleted; return the refresh that it concerns."""
        known = _identity(kind, item)
        if known is None:
            return None
        key, version, refresh = known
        self._is_told(key, version)
        there = self._copies.get(key)
        self._deleted[key] = max(version, self._deleted.get(key, 0))
        if there and there.version > version:
            return None  # made anew since
        self._forget(key)
        return refresh

    def put_page(self, kind: Kind, items: Iterable[Json]) -> tuple[set[Key], set[Ref]]:
        """Take a part of a list; return which objects it holds, and the refreshes for which it brought something new."""
        held: set[Key] = set()
        changed: set[Ref] = set()
        for item in items:
            known = _identity(kind, item)
            if known is None:
                continue
            key, of, _ = known
            held.add(key)
            if ref := self.put(kind, item):
                changed.add(ref)
                self._untold[key] = (of, self._round)
        return held, changed

    def prune(self, kind: Kind, namespace: str, held: Set[Key], version: int) -> set[Ref]:
        """Forget what a whole list, as it was at `version`, does not hold; return the refreshes that this concerns."""
        changed = set()
        gone = [key for key in self._copies if key[0] == kind.name and namespace in ("", key[1]) and key not in held]
        for key in gone:
            if self._copies[key].version <= version:
                changed.add(self._copies[key].refresh)
                self._deleted[key] = version
                self._untold[key] = (version, self._round)
                self._forget(key)
        self._deleted = {key: deleted for key, deleted in self._deleted.items() if key[0] != kind.name or deleted > version}
        return changed

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """One object; None if there is none."""
        there = self._copies.get((kind.name, namespace, name))
        return from_json(there.text) if there else None

    def by_refresh(self, kind: Kind, ref: Ref) -> list[Json]:
        """The objects of a kind that carry the refresh's label."""
        names = sorted(self._belongings.get((kind.name, ref), ()))
        return [item for name in names if (item := self.get(kind, ref.namespace, name))]

    def begin_resync(self) -> None:
        """Begin another round of lists."""
        self._round += 1

    @property
    def stale_kinds(self) -> list[str]:
        """Kinds whose watch has not told in a whole round what a list brought to light before."""
        return sorted({key[0] for key, (_, since) in self._untold.items() if since < self._round})

    def refreshes(self) -> Iterator[Ref]:
        """Every refresh."""
        return (Ref(key[1], key[2]) for key in list(self._copies) if key[0] == REFRESHES.name)

    def _is_told(self, key: Key, version: int) -> None:
        if key in self._untold and version >= self._untold[key][0]:
            del self._untold[key]

    def _forget(self, key: Key) -> None:
        there = self._copies.pop(key, None)
        if there:
            names = self._belongings[(key[0], there.refresh)]
            names.discard(key[2])
            if not names:
                del self._belongings[(key[0], there.refresh)]


def _text(item: Json) -> bytes:
    """The text of an object that is kept: of one that is too long, what is left of it."""
    text = to_json(without_noise(item))
    if len(text) <= LARGEST:
        return text
    rest = object_of(text)
    said: Json = {**unreadable(item), **unreadable(rest)}
    return to_json({**rest, UNREADABLE: said})


def _identity(kind: Kind, item: Json) -> tuple[Key, int, Ref | None] | None:
    """Which object this is, its version, and the refresh that it belongs to; None where nobody can tell, so that it is passed over."""
    metadata = mapping(item.get("metadata"))
    namespace, name, version = str(metadata.get("namespace") or ""), metadata.get("name"), str(metadata.get("resourceVersion"))
    if not isinstance(name, str) or not name or not (version.isascii() and version.isdigit()):
        log.warning("passed over: a %s in %s without a name or a version", kind.name, namespace or "the cluster")
        return None
    label = mapping(metadata.get("labels")).get(REFRESH_LABEL)
    owner = name if kind == REFRESHES else label
    return (kind.name, namespace, name), int(version), Ref(namespace, str(owner)) if owner else None
