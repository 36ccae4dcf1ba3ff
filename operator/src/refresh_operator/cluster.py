"""The one door to the cluster: observe one refresh, apply one decision."""

import asyncio
import base64
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api import names
from refresh_api.model import time_text
from refresh_api.status import OperatorShare
from refresh_operator.api import Api, Kind
from refresh_operator.decide import Decision, Replacement
from refresh_operator.drift import Difference, differences
from refresh_operator.errors import Conflict, NotFound
from refresh_operator.names import Ref, cronjob_name, event_name, permissions_name
from refresh_operator.notes import Note
from refresh_operator.world import Invalid, Job, Json, Pod, Refresh, World, refresh_of

log = logging.getLogger(__name__)

REFRESHES: Final = Kind(names.KIND, f"apis/{names.GROUP}/{names.VERSION}", names.PLURAL)
CRONJOBS: Final = Kind("CronJob", "apis/batch/v1", "cronjobs")
JOBS: Final = Kind("Job", "apis/batch/v1", "jobs")
ACCOUNTS: Final = Kind("ServiceAccount", "api/v1", "serviceaccounts")
ROLES: Final = Kind("Role", "apis/rbac.authorization.k8s.io/v1", "roles")
BINDINGS: Final = Kind("RoleBinding", "apis/rbac.authorization.k8s.io/v1", "rolebindings")
PODS: Final = Kind("Pod", "api/v1", "pods")
SECRETS: Final = Kind("Secret", "api/v1", "secrets")
EVENTS: Final = Kind("Event", "api/v1", "events")
KEPT: Final = {kind.name: kind for kind in (CRONJOBS, ACCOUNTS, ROLES, BINDINGS)}
"""The kinds that are kept equal to a refresh."""

WAREHOUSE_KEYS: Final = ("host", "dbname", "user", "password")
"""Keys without which a warehouse's Secret is of no use."""


class Cluster:
    """Reads and writes everything that belongs to refreshes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def refreshes(self, namespace: str = "") -> list[Ref]:
        """Every refresh in a namespace, or in all."""
        found = await self._api.get(REFRESHES.path(namespace))
        return [refresh_of(item).ref for item in _items(found)]

    async def refresh(self, ref: Ref) -> Refresh | None:
        """One refresh; None if it is gone."""
        raw = await self._find(REFRESHES, ref.namespace, ref.name)
        return refresh_of(raw) if raw else None

    async def observe(self, refresh: Refresh, silence: timedelta = timedelta(0)) -> World:
        """All that belongs to a refresh, as it is now."""
        namespace, name = refresh.ref.namespace, refresh.ref.name
        wanted = [(CRONJOBS, cronjob_name(name)), *((kind, permissions_name(name)) for kind in (ACCOUNTS, ROLES, BINDINGS))]
        found, jobs, missing = await asyncio.gather(
            asyncio.gather(*(self._find(kind, namespace, each) for kind, each in wanted)),
            self._api.get(JOBS.path(namespace), {"labelSelector": f"{names.REFRESH_LABEL}={name}"}),
            self._missing(refresh),
        )
        objects = {kind.name: item for (kind, _), item in zip(wanted, found, strict=True) if item}
        # The label alone could be anybody's, or that of a deleted refresh with the same name.
        runs = [Job.model_validate(item) for item in _items(jobs)]
        runs = [job for job in runs if job.metadata.annotations.get(names.UID_ANNOTATION) == refresh.metadata.uid]
        known = {run.id for run in refresh.share.history}
        pods = await self._pods(refresh) if any(job.metadata.name not in known or not job.end for job in runs) else ()
        return World(refresh, objects, tuple(runs), pods, silence, missing)

    async def apply(self, refresh: Refresh, decision: Decision, now: datetime) -> frozenset[Difference]:
        """Make a decision so; Conflict if somebody was faster. Returns the differences that came back at once: others insist on them."""
        namespace = refresh.ref.namespace
        for item in decision.create:
            await self._api.create(KEPT[str(item["kind"])].path(namespace), item)
            log.info("made %s", item["kind"])
        returned: frozenset[Difference] = frozenset()
        for each in decision.replace:
            returned |= await self._replace(namespace, each, now)
        if decision.start:
            await self._api.create(JOBS.path(namespace), decision.start)
            log.info("made the Job %s", _mapping(decision.start["metadata"])["name"])
        if decision.share:
            await self.write(refresh, decision.share)
        for job in decision.give_up:
            await self._api.delete(JOBS.path(namespace, job))
            log.info("deleted the Job %s, which was given up", job)
        for note in decision.notes:
            await self.post(refresh, note, now)
        return returned

    async def write(self, refresh: Refresh, share: OperatorShare) -> None:
        """Write the operator's share of the status; Conflict if the refresh was changed since it was read, or made anew.

        The version that was read says so: the API server ignores a uid that does not fit in a write of the status.
        """
        meta = refresh.metadata
        body: Json = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": meta.name, "namespace": meta.namespace, "resourceVersion": meta.resource_version},
            "status": share.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        await self._api.apply(REFRESHES.path(meta.namespace, meta.name, "status"), body, names.OPERATOR_FIELD_MANAGER)

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The content of a Secret; None if there is none. Not to be logged, nor kept."""
        found = await self._find(SECRETS, namespace, name)
        if found is None:
            return None
        return {key: base64.b64decode(str(value)).decode(errors="replace") for key, value in _mapping(found.get("data")).items()}

    async def _replace(self, namespace: str, each: Replacement, now: datetime) -> frozenset[Difference]:
        kind, name = KEPT[str(each.item["kind"])], str(_mapping(each.item["metadata"])["name"])
        item = each.item
        if each.forget_slots:
            seen = await self._api.merge(CRONJOBS.path(namespace, name, "status"), {"status": {"lastScheduleTime": time_text(now)}})
            version = _mapping(seen["metadata"])["resourceVersion"]
            item = {**item, "metadata": {**_mapping(item["metadata"]), "resourceVersion": version}}
        written = await self._api.replace(kind.path(namespace, name), item)
        log.info("replaced %s %s: %s", kind.name, name, ", ".join(found.path for found in each.differences))
        return frozenset(differences(each.item, written))

    async def _missing(self, refresh: Refresh) -> tuple[str, ...]:
        if isinstance(refresh.spec, Invalid):
            return ()
        name = refresh.spec.warehouse.secret_ref.name
        content = await self.secret(refresh.ref.namespace, name)
        if content is None:
            return (f"there is no Secret {name} (spec.warehouse.secretRef) with the keys {', '.join(WAREHOUSE_KEYS)}",)
        return tuple(f"the Secret {name} (spec.warehouse.secretRef) has no key {key}" for key in WAREHOUSE_KEYS if not content.get(key))

    async def _pods(self, refresh: Refresh) -> tuple[Pod, ...]:
        found = await self._api.get(PODS.path(refresh.ref.namespace), {"labelSelector": f"{names.REFRESH_LABEL}={refresh.ref.name}"})
        return tuple(Pod.model_validate(item) for item in _items(found))

    async def post(self, refresh: Refresh, note: Note, now: datetime) -> None:
        """Post an event on a refresh, once."""
        meta = refresh.metadata
        moment = time_text(now)
        key = note.key or moment
        body: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event_name(meta.name, meta.uid, note.reason, note.message, key), "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
            "reason": note.reason,
            "message": note.message,
            "type": "Warning" if note.warning else "Normal",
            "source": {"component": names.OPERATOR_FIELD_MANAGER},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        try:
            await self._api.create(EVENTS.path(meta.namespace), body)
        except Conflict:
            return  # posted before

    async def _find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        try:
            return await self._api.get(kind.path(namespace, name))
        except NotFound:
            return None


def _items(found: Json) -> list[Json]:
    items = found.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _mapping(value: JsonValue) -> Json:
    return value if isinstance(value, dict) else {}
