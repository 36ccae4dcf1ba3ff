"""Leader election among several operators by a Lease. The others wait until it is released or expires.

No clocks of different machines are compared: a Lease has expired if it was not changed for its duration, by the clock of the operator
that waits for it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from pydantic import ValidationError

from refresh_api.objects import Json
from refresh_operator.errors import ApiError, Conflict, LeaseLost, NotFound
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import LEASES
from refresh_operator.settings import LeaseRef
from refresh_operator.state.kube_types import KubeModel, Metadata, mapping

log = logging.getLogger(__name__)

DURATION: Final = timedelta(seconds=10)
"""How long the Lease is valid without renewal."""
_RENEWAL: Final = timedelta(seconds=2)
"""Time between two renewals, and between two attempts to acquire the Lease."""
_MARGIN: Final = timedelta(seconds=2)
"""How long before the expiry the leader stops writing, so that no request of it is pending when another leader starts."""


class _Spec(KubeModel):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    lease_transitions: int = 0


class _Record(KubeModel):
    metadata: Metadata
    spec: _Spec = _Spec()


class LeaseAction(Enum):
    """What to do with the Lease."""

    WAIT = "wait"
    ACQUIRE = "take"
    LOST = "lost"


def next_action(holder: str, me: str, *, was_leader: bool, unchanged: timedelta, duration: timedelta) -> LeaseAction:
    """Return what to do with a Lease held by `holder`, which is empty for a released Lease."""
    if holder == me:
        return LeaseAction.ACQUIRE  # also after a restart in the same pod
    if was_leader:
        return LeaseAction.LOST
    return LeaseAction.ACQUIRE if not holder or unchanged >= duration else LeaseAction.WAIT


@dataclass(frozen=True)
class _Observed:
    """A version of the Lease, and when it was first observed."""

    item: Json
    record: _Record
    since: float


class LeaderElector:
    """Acquires, renews and releases the Lease for this operator."""

    def __init__(self, client: KubeClient, at: LeaseRef, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._at = at
        self._monotonic = monotonic
        self._seen: _Observed | None = None
        self._renewed: float | None = None
        """When the last successful renewal was sent."""
        self._observed_at: float | None = None

    @property
    def may_write(self) -> bool:
        """Whether this operator is the leader and its Lease is valid long enough to write."""
        return self._renewed is not None and self._monotonic() - self._renewed < (DURATION - _MARGIN).total_seconds()

    @property
    def is_leader(self) -> bool:
        """Whether this operator has acquired the Lease and not lost or released it."""
        return self._renewed is not None

    @property
    def holder(self) -> str:
        """The holder of the Lease as last observed, or empty if nobody holds it."""
        return self._seen.record.spec.holder_identity if self._seen else ""

    def readiness_problem(self) -> str:
        """Return why this operator is neither ready to work nor to take over, or nothing if it is."""
        if self.is_leader:
            return "" if self.may_write else "cannot renew the Lease: writes are suspended"
        fresh = self._observed_at is not None and self._monotonic() - self._observed_at < DURATION.total_seconds()
        return "" if fresh else "cannot read the Lease"

    async def acquire(self) -> None:
        """Wait until this operator holds the Lease."""
        while True:
            await self._attempt()
            if self.is_leader:
                log.info("acquired the Lease %s/%s", self._at.namespace, self._at.name)
                return
            await asyncio.sleep(_RENEWAL.total_seconds())

    async def renew(self) -> None:
        """Renew the Lease until cancelled. Raise LeaseLost once another operator holds it."""
        while True:
            await asyncio.sleep(_RENEWAL.total_seconds())
            await self._attempt()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def release(self) -> None:
        """Release the Lease, so that another operator can start at once. Call it when this operator writes nothing any more."""
        if self._renewed is None or self._seen is None:
            return
        self._renewed = None
        try:
            await self._write(self._seen, holder="")
        except ApiError as error:
            log.warning("cannot release the Lease, which will expire: %s", error)

    async def _attempt(self) -> None:
        """Try once to acquire or renew the Lease. Errors of the API server are logged, and the next attempt follows."""
        try:
            async with asyncio.timeout(_RENEWAL.total_seconds() * 2):
                if not self.is_leader:
                    await self._observe()
                try:
                    await self._acquire_or_renew()
                except (Conflict, NotFound):
                    # changed by another operator, or deleted: decide by its current state
                    await self._observe()
                    await self._acquire_or_renew()
        except (ApiError, TimeoutError) as error:
            log.warning("cannot acquire or renew the Lease: %s", error or type(error).__name__)

    async def _observe(self) -> None:
        try:
            item = await self._client.get(LEASES.path(self._at.namespace, self._at.name))
        except NotFound:
            self._seen = None
        else:
            self._remember(item)
        self._observed_at = self._monotonic()

    def _remember(self, item: Json) -> None:
        try:
            record = _Record.model_validate(item)
        except ValidationError:  # edited by hand: treat it as released
            record = _Record(metadata=_Record.model_validate({"metadata": item["metadata"]}).metadata)
        same = self._seen is not None and self._seen.record.metadata.resource_version == record.metadata.resource_version
        self._seen = _Observed(item, record, self._seen.since if self._seen and same else self._monotonic())

    async def _acquire_or_renew(self) -> None:
        if self._seen is None:
            await self._write(None, holder=self._at.holder)
            return
        spec = self._seen.record.spec
        action = next_action(
            spec.holder_identity,
            self._at.holder,
            was_leader=self.is_leader,
            unchanged=timedelta(seconds=self._monotonic() - self._seen.since),
            duration=timedelta(seconds=spec.lease_duration_seconds) or DURATION,
        )
        if action is LeaseAction.LOST:
            # the Lease of another operator must not be released
            self._renewed = None
            raise LeaseLost(f"the Lease {self._at.namespace}/{self._at.name} is now held by {spec.holder_identity or 'nobody'}")
        if action is LeaseAction.ACQUIRE:
            await self._write(self._seen, holder=self._at.holder)

    async def _write(self, before: _Observed | None, holder: str) -> None:
        sent, now = self._monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = before.record.spec if before else _Spec()
        changes = holder != old.holder_identity
        spec: Json = {
            **mapping(before.item.get("spec") if before else {}),
            "holderIdentity": holder,
            "leaseDurationSeconds": int(DURATION.total_seconds()),
            "renewTime": now,
            **({"acquireTime": now, "leaseTransitions": old.lease_transitions + 1} if changes else {}),
        }
        if before:
            item = await self._client.replace(LEASES.path(self._at.namespace, self._at.name), {**before.item, "spec": spec})
        else:
            body: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._at.name}, "spec": spec}
            item = await self._client.create(LEASES.path(self._at.namespace), body)
        self._remember(item)
        self._renewed = sent if holder else None
