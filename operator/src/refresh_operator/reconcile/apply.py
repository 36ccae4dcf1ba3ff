"""Apply a decision to the cluster."""

import logging
from datetime import datetime

from refresh_api import names
from refresh_api.model import time_text
from refresh_api.objects import Json
from refresh_api.status import OperatorStatus
from refresh_operator.errors import Conflict
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import CRONJOBS, EVENTS, JOBS, MANAGED, REFRESHES, Kind
from refresh_operator.kube.store import Store
from refresh_operator.names import Ref, event_name
from refresh_operator.reconcile.decision import Decision
from refresh_operator.reconcile.managed_objects import Replacement
from refresh_operator.specs.diff import Difference, differences
from refresh_operator.specs.metadata import additional_owner
from refresh_operator.state.kube_types import mapping
from refresh_operator.state.refresh import Refresh
from refresh_operator.status.events import Event, Subject

log = logging.getLogger(__name__)


class Applier:
    """Writes everything that belongs to refreshes. Every object that the API server returns goes into the store."""

    def __init__(self, client: KubeClient, store: Store, unlabelled: dict[Ref, set[str]]) -> None:
        self._client = client
        self._store = store
        self._unlabelled = unlabelled

    async def apply(self, refresh: Refresh, decision: Decision, now: datetime) -> frozenset[Difference]:
        """Apply a decision. Raise Conflict if an object has changed since it was read.

        Return the differences that the API server's response still has, because an admission webhook insists on them.
        """
        namespace = refresh.ref.namespace
        for item in decision.create:
            await self._create(refresh.ref, MANAGED[str(item["kind"])], item)
        returned: frozenset[Difference] = frozenset()
        for each in decision.replace:
            returned |= await self._replace(namespace, each, now)
        if decision.create_job:
            job = await self._create_job(namespace, decision.create_job)
            log.info("created Job %s", job, extra={"run": job})
        if decision.create_check:
            await self._create_job(namespace, decision.create_check)
        for job in decision.adopt_jobs:
            await self._adopt(refresh, job)
        if decision.status:
            await self.write_status(refresh, decision.status)
            for run in decision.status.history:
                if run not in refresh.status.history:
                    log.info("run %s finished: %s, %s", run.id, run.outcome, run.reason, extra={"run": run.id})
        for job in decision.delete_jobs:
            await self.delete_job(namespace, job)
        for event in decision.events:
            await self.post_event(refresh, event, now)
        return returned

    async def write_status(self, refresh: Refresh, status: OperatorStatus) -> None:
        """Write the operator's part of the status. Raise Conflict if the refresh has been changed or recreated since it was read.

        The resource version ensures this: the API server ignores a wrong UID in a write of the status.
        """
        meta = refresh.metadata
        body: Json = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": meta.name, "namespace": meta.namespace, "resourceVersion": meta.resource_version},
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        written = await self._client.apply(REFRESHES.path(meta.namespace, meta.name, "status"), body, names.OPERATOR_FIELD_MANAGER)
        self._store.put(REFRESHES, written)

    async def delete_job(self, namespace: str, job: str) -> None:
        """Delete a Job and its pods."""
        await self._client.delete(JOBS.path(namespace, job))
        log.info("deleted Job %s", job, extra={"run": job})

    async def post_event(self, subject: Subject, event: Event, now: datetime) -> None:
        """Post an event on a refresh or a preview, unless it has already been posted."""
        meta = subject.metadata
        moment = time_text(now)
        name = event_name(meta.name, meta.uid, event.reason, event.message, event.key or moment)
        body: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": subject.ref.kind,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
            "reason": event.reason,
            "message": event.message,
            "type": "Warning" if event.warning else "Normal",
            "source": {"component": names.OPERATOR_FIELD_MANAGER},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        try:
            await self._client.create(EVENTS.path(meta.namespace), body)
        except Conflict:
            return  # already posted

    async def _create_job(self, namespace: str, item: Json) -> str:
        self._store.put(JOBS, await self._client.create(JOBS.path(namespace), item))
        return str(mapping(item["metadata"])["name"])

    async def _create(self, ref: Ref, kind: Kind, item: Json) -> None:
        try:
            self._store.put(kind, await self._client.create(kind.path(ref.namespace), item))
        except Conflict:
            self._unlabelled.setdefault(ref, set()).add(kind.name)
            raise
        self._unlabelled.get(ref, set()).discard(kind.name)
        log.info("created %s", kind.name)

    async def _adopt(self, refresh: Refresh, job: str) -> None:
        """Add the refresh to the owners of a Job. Raise Conflict if the Job has changed since it was read."""
        seen = mapping((self._store.get(JOBS, refresh.ref.namespace, job) or {}).get("metadata"))
        owners = seen.get("ownerReferences")
        both = [*(owners if isinstance(owners, list) else []), additional_owner(refresh)]
        body: Json = {"metadata": {"resourceVersion": seen.get("resourceVersion"), "ownerReferences": both}}
        self._store.put(JOBS, await self._client.merge(JOBS.path(refresh.ref.namespace, job), body))

    async def _replace(self, namespace: str, each: Replacement, now: datetime) -> frozenset[Difference]:
        kind, name = MANAGED[str(each.item["kind"])], str(mapping(each.item["metadata"])["name"])
        item = each.item
        if each.reset_last_schedule_time:
            seen = await self._client.merge(CRONJOBS.path(namespace, name, "status"), {"status": {"lastScheduleTime": time_text(now)}})
            version = mapping(seen["metadata"])["resourceVersion"]
            item = {**item, "metadata": {**mapping(item["metadata"]), "resourceVersion": version}}
        written = await self._client.replace(kind.path(namespace, name), item)
        self._store.put(kind, written)
        log.info("replaced %s %s: %s", kind.name, name, ", ".join(found.path for found in each.differences))
        return frozenset(differences(each.item, written))
