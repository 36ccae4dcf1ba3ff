"""The one door to the cluster: observe one refresh, apply one decision."""

import base64
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from refresh_api import names
from refresh_api.model import time_text
from refresh_api.objects import Json
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus
from refresh_operator.errors import Conflict, NotFound, Unreadable
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import (
    CRONJOBS,
    EVENTS,
    JOBS,
    MANAGED,
    NAMESPACES,
    PODS,
    REFRESHES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    WATCHED,
    Kind,
)
from refresh_operator.kube.secret_checker import SecretChecker
from refresh_operator.kube.store import Key, Store
from refresh_operator.names import Ref, cronjob_name, event_name, rbac_name
from refresh_operator.reconcile.decision import Decision, Replacement
from refresh_operator.secret_policy import SecretRules
from refresh_operator.specs.diff import Difference, differences
from refresh_operator.specs.metadata import additional_owner
from refresh_operator.state.kube_types import Job, Pod, mapping, parse_object
from refresh_operator.state.refresh import InvalidSpec, Refresh, parse_refresh
from refresh_operator.state.snapshot import Pause, Snapshot
from refresh_operator.status.events import Event

log = logging.getLogger(__name__)


class Cluster:
    """Reads and writes everything that belongs to refreshes; what is watched is read from the mirror."""

    def __init__(self, api: KubeClient, mirror: Store, rules: SecretRules) -> None:
        self._api = api
        self._mirror = mirror
        self._secrets = SecretChecker(self.secret, self._secret_labels, rules)
        self._strangers: dict[Ref, set[str]] = {}
        """Kinds of which an object has the name of ours without our label: no watch tells of them."""

    def refreshes(self) -> Iterator[Refresh]:
        """Every refresh."""
        return (seen for ref in self._mirror.refreshes() if (seen := self.refresh(ref)))

    async def resync(self, namespace: str) -> set[Ref]:
        """Compare the mirror with everything that is there in a namespace, or in all; return the refreshes it was wrong about."""
        changed = set()
        for kind in WATCHED:
            query = {} if kind == REFRESHES else {"labelSelector": names.REFRESH_LABEL}
            held: set[Key] = set()
            version = 0
            async for items, listed_at in self._api.list_pages(kind.path(namespace), query):
                of_page, news = self._mirror.put_page(kind, items)
                held |= of_page
                changed |= news
                version = listed_at or version
            changed |= self._mirror.prune(kind, namespace, held, version)
        return changed | self._secrets.users_of(await self._secrets.changed())

    def refresh(self, ref: Ref) -> Refresh | None:
        """One refresh; None if it is gone."""
        raw = self._mirror.get(REFRESHES, ref.namespace, ref.name)
        if raw is None:
            self._secrets.forget(ref)
            self._strangers.pop(ref, None)
        return parse_refresh(raw) if raw else None

    async def refetch(self, ref: Ref) -> None:
        """Ask for what may have been changed since the watches told of it."""
        for kind, name in ((REFRESHES, ref.name), (CRONJOBS, cronjob_name(ref.name))):
            found = await self._find(kind, ref.namespace, name)
            if found:
                self._mirror.put(kind, found)

    async def observe(self, refresh: Refresh, silence: timedelta, pause: Pause | None) -> Snapshot:
        """All that belongs to a refresh, as it is now; Unreadable where an object of it can't be read."""
        objects = {}
        for kind, name in _kept_names(refresh.ref):
            item = self._mirror.get(kind, refresh.ref.namespace, name)
            if item is None and kind.name in self._strangers.get(refresh.ref, ()):
                item = await self._find(kind, refresh.ref.namespace, name)
            if item:
                objects[kind.name] = item
        # The label alone could be anybody's, or that of a deleted refresh with the same name.
        labelled = [parse_object(Job, item) for item in self._mirror.by_refresh(JOBS, refresh.ref)]
        runs = tuple(job for job in labelled if job.refresh_uid == refresh.metadata.uid)
        others = tuple(job for job in labelled if job.refresh_uid not in (refresh.metadata.uid, None))
        pods = tuple(parse_object(Pod, item) for item in self._mirror.by_refresh(PODS, refresh.ref)) if runs else ()
        refused, missing = await self._of_secrets(refresh)
        ends = any(pod.metadata.deletion_timestamp for pod in pods) and await self._ends(refresh.ref.namespace)
        return Snapshot(refresh, objects, runs, others, pods, silence, missing, pause, ends, refused)

    async def denied_secrets(self, refresh: Refresh, spec: RefreshSpec) -> dict[str, str]:
        """The Secrets that a refresh names and may not use, with why."""
        return await self._secrets.denied(refresh.ref, spec)

    async def _of_secrets(self, refresh: Refresh) -> tuple[dict[str, str], tuple[str, ...]]:
        """The Secrets that a refresh may not use, and what the warehouse's lacks; one that may not be used is not read."""
        if isinstance(refresh.spec, InvalidSpec):
            return {}, ()
        warehouse = refresh.spec.warehouse.secret_ref.name
        refused = await self.denied_secrets(refresh, refresh.spec)
        return refused, () if warehouse in refused else await self._secrets.missing(refresh.ref, warehouse)

    async def delete_jobs_of_terminating_namespaces(self) -> None:
        """Delete the unfinished Jobs of namespaces that are being deleted: without an operator they would wait for the Jobs' deadlines."""
        jobs: dict[str, list[str]] = {}
        for ref in self._mirror.refreshes():
            with suppress(Unreadable):
                seen = [parse_object(Job, item) for item in self._mirror.by_refresh(JOBS, ref)]
                jobs.setdefault(ref.namespace, []).extend(job.metadata.name for job in seen if not job.end)
        for namespace, unfinished in jobs.items():
            if unfinished and await self._ends(namespace):
                for name in unfinished:
                    await self._api.delete(JOBS.path(namespace, name))

    async def _ends(self, namespace: str) -> bool:
        """Whether a namespace is being deleted."""
        found = await self._find(NAMESPACES, "", namespace)
        return found is None or mapping(found.get("metadata")).get("deletionTimestamp") is not None

    async def apply(self, refresh: Refresh, decision: Decision, now: datetime) -> frozenset[Difference]:
        """Make a decision so; Conflict if somebody was faster. Returns the differences that came back at once: others insist on them."""
        namespace = refresh.ref.namespace
        for item in decision.create:
            await self._create(refresh.ref, MANAGED[str(item["kind"])], item)
        returned: frozenset[Difference] = frozenset()
        for each in decision.replace:
            returned |= await self._replace(namespace, each, now)
        if decision.create_job:
            self._mirror.put(JOBS, await self._api.create(JOBS.path(namespace), decision.create_job))
            job = mapping(decision.create_job["metadata"])["name"]
            log.info("made the Job %s", job, extra={"run": job})
        for job in decision.adopt_jobs:
            await self._adopt(refresh, job)
        if decision.status:
            await self.write_status(refresh, decision.status)
            for run in decision.status.history:
                if run not in refresh.status.history:
                    log.info("run %s ended: %s, %s", run.id, run.outcome, run.reason, extra={"run": run.id})
        for job in decision.delete_jobs:
            await self._api.delete(JOBS.path(namespace, job))
            log.info("deleted the Job %s", job, extra={"run": job})
        for note in decision.events:
            await self.post_event(refresh, note, now)
        return returned

    async def write_status(self, refresh: Refresh, share: OperatorStatus) -> None:
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
        written = await self._api.apply(REFRESHES.path(meta.namespace, meta.name, "status"), body, names.OPERATOR_FIELD_MANAGER)
        self._mirror.put(REFRESHES, written)

    async def _create(self, ref: Ref, kind: Kind, item: Json) -> None:
        try:
            self._mirror.put(kind, await self._api.create(kind.path(ref.namespace), item))
        except Conflict:
            self._strangers.setdefault(ref, set()).add(kind.name)
            raise
        self._strangers.get(ref, set()).discard(kind.name)
        log.info("made %s", kind.name)

    async def _adopt(self, refresh: Refresh, job: str) -> None:
        """Have a Job belong to its refresh, too; Conflict if it was changed since it was seen."""
        seen = mapping((self._mirror.get(JOBS, refresh.ref.namespace, job) or {}).get("metadata"))
        owners = seen.get("ownerReferences")
        both = [*(owners if isinstance(owners, list) else []), additional_owner(refresh)]
        body: Json = {"metadata": {"resourceVersion": seen.get("resourceVersion"), "ownerReferences": both}}
        self._mirror.put(JOBS, await self._api.merge(JOBS.path(refresh.ref.namespace, job), body))

    async def _secret_labels(self, namespace: str, name: str) -> dict[str, str] | None:
        """The labels of a Secret, without its content; None if there is none."""
        try:
            found = await self._api.get_metadata(SECRETS.path(namespace, name))
        except NotFound:
            return None
        return {key: str(value) for key, value in mapping(mapping(found.get("metadata")).get("labels")).items()}

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The content of a Secret; None if there is none. Not to be logged, nor kept."""
        found = await self._find(SECRETS, namespace, name)
        if found is None:
            return None
        return {key: base64.b64decode(str(value)).decode(errors="surrogateescape") for key, value in mapping(found.get("data")).items()}

    async def _replace(self, namespace: str, each: Replacement, now: datetime) -> frozenset[Difference]:
        kind, name = MANAGED[str(each.item["kind"])], str(mapping(each.item["metadata"])["name"])
        item = each.item
        if each.reset_last_schedule_time:
            seen = await self._api.merge(CRONJOBS.path(namespace, name, "status"), {"status": {"lastScheduleTime": time_text(now)}})
            version = mapping(seen["metadata"])["resourceVersion"]
            item = {**item, "metadata": {**mapping(item["metadata"]), "resourceVersion": version}}
        written = await self._api.replace(kind.path(namespace, name), item)
        self._mirror.put(kind, written)
        log.info("replaced %s %s: %s", kind.name, name, ", ".join(found.path for found in each.differences))
        return frozenset(differences(each.item, written))

    async def post_event(self, refresh: Refresh, note: Event, now: datetime) -> None:
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


def _kept_names(ref: Ref) -> Iterator[tuple[Kind, str]]:
    yield CRONJOBS, cronjob_name(ref.name)
    for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
        yield kind, rbac_name(ref.name)
