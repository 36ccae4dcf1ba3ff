"""Checks of the Secrets that refreshes name: whether they are complete, and whether the refresh may use them.

Secrets are not watched, only read by name: a Secret without a problem at each resync, others at each reconciliation.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from refresh_api.names import WAREHOUSE_KEYS
from refresh_operator.names import Ref
from refresh_operator.secret_policy import SecretPolicy, SecretRules

SecretKey = tuple[str, str]
"""Namespace and name of a Secret."""
_WAREHOUSE: Final = "spec.warehouse.secretRef"


class SecretChecker:
    """Caches which Secrets are complete and allowed, but not their content."""

    def __init__(
        self,
        read: Callable[[str, str], Awaitable[Mapping[str, str] | None]],
        labels: Callable[[str, str], Awaitable[dict[str, str] | None]],
        rules: SecretRules,
    ) -> None:
        self._read = read
        self._labels = labels
        self._rules = rules
        self._complete: set[SecretKey] = set()
        self._allowed: set[SecretKey] = set()
        """Secrets with the label."""
        self._users: dict[Ref, frozenset[SecretKey]] = {}

    async def missing(self, ref: Ref, name: str, field: str = _WAREHOUSE) -> tuple[str, ...]:
        """Return what is missing in the Secret of a warehouse that a field names, one message each."""
        secret = (ref.namespace, name)
        self._users[ref] = self._users.get(ref, frozenset()) | {secret}
        return () if secret in self._complete else await self._check(secret, field)

    async def denied(self, ref: Ref, uses: Mapping[str, str]) -> dict[str, str]:
        """Return the Secrets that may not be used, each with the reason; `uses` are those that a spec names, with their fields."""
        if self._rules.policy is SecretPolicy.ANY:
            return {}
        self._users[ref] = frozenset((ref.namespace, name) for name in uses)
        found = {}
        for name, field in uses.items():
            secret = (ref.namespace, name)
            if secret in self._allowed:
                continue
            labels = await self._labels(*secret) if self._rules.policy is SecretPolicy.LABELLED else None
            if why := self._rules.denial(name, field, labels):
                found[name] = why
            elif labels is not None:
                self._allowed.add(secret)
        return found

    async def changed(self) -> set[SecretKey]:
        """Read again every Secret that had no problem; return those that now have one."""
        used = frozenset[SecretKey]().union(*self._users.values())
        found = {secret for secret in self._complete & used if await self._check(secret, _WAREHOUSE)}
        for secret in self._allowed & used:
            if self._rules.denial(secret[1], "", await self._labels(*secret)):
                self._allowed.discard(secret)
                found.add(secret)
        return found

    def users_of(self, secrets: set[SecretKey]) -> set[Ref]:
        """Return the refreshes that name one of these Secrets."""
        return {ref for ref, named in self._users.items() if named & secrets}

    def forget(self, ref: Ref) -> None:
        """Forget a deleted refresh."""
        self._users.pop(ref, None)

    async def _check(self, secret: SecretKey, field: str) -> tuple[str, ...]:
        content = await self._read(*secret)
        name = secret[1]
        if content is None:
            missing: tuple[str, ...] = (f"Secret {name} ({field}) not found; required keys: {', '.join(WAREHOUSE_KEYS)}",)
        else:
            missing = tuple(f"Secret {name} ({field}) has no key {key}" for key in WAREHOUSE_KEYS if not content.get(key))
        if missing:
            self._complete.discard(secret)
        else:
            self._complete.add(secret)
        return missing
