"""What the warehouses' Secrets lack, and which Secrets refreshes may not use. Secrets are not watched: they are read by name only.

A Secret in which nothing was wrong is asked for again at each resync, one that lacks something at each look.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from refresh_api.spec import RefreshSpec
from refresh_operator.names import Ref
from refresh_operator.secret_policy import SecretPolicy, SecretRules, secret_uses

WAREHOUSE_KEYS: Final = ("host", "dbname", "user", "password")
"""Keys without which a warehouse's Secret is of no use."""
Place = tuple[str, str]
"""Namespace and name of a Secret."""


class SecretChecker:
    """The Secrets that refreshes name, and which of them were complete and allowed. Their content is not kept."""

    def __init__(
        self,
        read: Callable[[str, str], Awaitable[Mapping[str, str] | None]],
        labels: Callable[[str, str], Awaitable[dict[str, str] | None]],
        rules: SecretRules,
    ) -> None:
        self._read = read
        self._labels = labels
        self._rules = rules
        self._complete: set[Place] = set()
        self._allowed: set[Place] = set()
        """By their label."""
        self._users: dict[Ref, frozenset[Place]] = {}

    async def missing(self, ref: Ref, name: str) -> tuple[str, ...]:
        """Return what the warehouse's Secret of a refresh lacks, in words; nothing when all is there."""
        place = (ref.namespace, name)
        self._users[ref] = self._users.get(ref, frozenset()) | {place}
        return () if place in self._complete else await self._look(place)

    async def denied(self, ref: Ref, spec: RefreshSpec) -> dict[str, str]:
        """Return the Secrets that a refresh names and may not use, with why."""
        if self._rules.policy is SecretPolicy.ANY:
            return {}
        uses = secret_uses(spec)
        self._users[ref] = frozenset((ref.namespace, name) for name in uses)
        found = {}
        for name, field in uses.items():
            place = (ref.namespace, name)
            if place in self._allowed:
                continue
            labels = await self._labels(*place) if self._rules.policy is SecretPolicy.LABELLED else None
            if why := self._rules.denial(name, field, labels):
                found[name] = why
            elif labels is not None:
                self._allowed.add(place)
        return found

    async def changed(self) -> set[Place]:
        """Ask for every Secret in which nothing was wrong; return those in which something is."""
        used = frozenset[Place]().union(*self._users.values())
        found = {place for place in self._complete & used if await self._look(place)}
        for place in self._allowed & used:
            if self._rules.denial(place[1], "", await self._labels(*place)):
                self._allowed.discard(place)
                found.add(place)
        return found

    def users_of(self, places: set[Place]) -> set[Ref]:
        """Return the refreshes that name one of these Secrets."""
        return {ref for ref, named in self._users.items() if named & places}

    def forget(self, ref: Ref) -> None:
        """Forget a refresh that is gone."""
        self._users.pop(ref, None)

    async def _look(self, place: Place) -> tuple[str, ...]:
        content = await self._read(*place)
        name = place[1]
        if content is None:
            missing: tuple[str, ...] = (f"Secret {name} (spec.warehouse.secretRef) not found; required keys: {', '.join(WAREHOUSE_KEYS)}",)
        else:
            missing = tuple(f"Secret {name} (spec.warehouse.secretRef) has no key {key}" for key in WAREHOUSE_KEYS if not content.get(key))
        if missing:
            self._complete.discard(place)
        else:
            self._complete.add(place)
        return missing
