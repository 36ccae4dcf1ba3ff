"""What the warehouses' Secrets lack. Secrets are not watched: the operator may read them by name only.

A Secret that was complete is asked for again at each resync, one that lacks something at each look.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from refresh_operator.names import Ref

WAREHOUSE_KEYS: Final = ("host", "dbname", "user", "password")
"""Keys without which a warehouse's Secret is of no use."""
Place = tuple[str, str]
"""Namespace and name of a Secret."""


class SecretBook:
    """The Secrets that refreshes name, and which of them were complete. Their content is not kept."""

    def __init__(self, read: Callable[[str, str], Awaitable[Mapping[str, str] | None]]) -> None:
        self._read = read
        self._complete: set[Place] = set()
        self._users: dict[Ref, Place] = {}

    async def missing(self, ref: Ref, name: str) -> tuple[str, ...]:
        """Return what the warehouse's Secret of a refresh lacks, in words; nothing when all is there."""
        place = self._users[ref] = (ref.namespace, name)
        return () if place in self._complete else await self._look(place)

    async def changed(self) -> set[Place]:
        """Ask for every Secret that was complete; return those that are not any more."""
        return {place for place in self._complete & set(self._users.values()) if await self._look(place)}

    def users_of(self, places: set[Place]) -> set[Ref]:
        """Return the refreshes that name one of these Secrets."""
        return {ref for ref, place in self._users.items() if place in places}

    def leave(self, ref: Ref) -> None:
        """Forget a refresh that is gone."""
        self._users.pop(ref, None)

    async def _look(self, place: Place) -> tuple[str, ...]:
        content = await self._read(*place)
        name = place[1]
        if content is None:
            missing: tuple[str, ...] = (f"there is no Secret {name} (spec.warehouse.secretRef) with the keys {', '.join(WAREHOUSE_KEYS)}",)
        else:
            missing = tuple(
                f"the Secret {name} (spec.warehouse.secretRef) has no key {key}" for key in WAREHOUSE_KEYS if not content.get(key)
            )
        if missing:
            self._complete.discard(place)
        else:
            self._complete.add(place)
        return missing
