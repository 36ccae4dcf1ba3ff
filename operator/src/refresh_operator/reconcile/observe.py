"""Observe one refresh and all objects that belong to it. Watched objects are read from the store."""

import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta

from refresh_api import names
from refresh_api.objects import Json
from refresh_api.spec import RefreshSpec
from refresh_operator.code_policy import CodeRules
from refresh_operator.errors import NotFound, Unreadable
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import (
    CRONJOBS,
    JOBS,
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
from refresh_operator.names import Ref, cronjob_name, rbac_name
from refresh_operator.secret_policy import SecretRules
from refresh_operator.state.kube_types import Job, Pod, mapping, parse_object
from refresh_operator.state.refresh import InvalidSpec, Refresh, parse_refresh
from refresh_operator.state.snapshot import Pause, Snapshot


class Observer:
    """Reads everything that belongs to refreshes."""

    def __init__(self, client: KubeClient, store: Store, secrets: SecretRules, code: CodeRules) -> None:
        self._client = client
        self._store = store
        self._secrets = SecretChecker(self.secret, self._secret_labels, secrets)
        self._code = code
        self.unlabelled: dict[Ref, set[str]] = {}
        """Kinds of which an object has a managed object's name but not the label, so that no watch reports it."""

    def refreshes(self) -> Iterator[Refresh]:
        """Yield all refreshes."""
        return (seen for ref in self._store.refreshes() if (seen := self.refresh(ref)))

    def refresh(self, ref: Ref) -> Refresh | None:
        """Return one refresh, or None if it is deleted."""
        raw = self._store.get(REFRESHES, ref.namespace, ref.name)
        if raw is None:
            self._secrets.forget(ref)
            self.unlabelled.pop(ref, None)
        return parse_refresh(raw) if raw else None

    async def resync(self, namespace: str) -> set[Ref]:
        """List all watched objects of a namespace (or of all, if empty) into the store; return the refreshes that it was wrong about."""
        changed = set()
        for kind in WATCHED:
            query = {} if kind == REFRESHES else {"labelSelector": names.REFRESH_LABEL}
            listed: set[Key] = set()
            version = 0
            async for items, listed_at in self._client.list_pages(kind.path(namespace), query):
                of_page, refs = self._store.put_page(kind, items)
                listed |= of_page
                changed |= refs
                version = listed_at or version
            changed |= self._store.prune(kind, namespace, listed, version)
        return changed | self._secrets.users_of(await self._secrets.changed())

    async def refetch(self, ref: Ref) -> None:
        """Get a refresh and its CronJob from the API server, since the store may be outdated."""
        for kind, name in ((REFRESHES, ref.name), (CRONJOBS, cronjob_name(ref.name))):
            found = await self._find(kind, ref.namespace, name)
            if found:
                self._store.put(kind, found)

    async def observe(self, refresh: Refresh, heartbeat_age: timedelta, pause: Pause | None) -> Snapshot:
        """Return a snapshot of all that belongs to a refresh. Raise Unreadable if an object has a field of a wrong type."""
        objects = await self._managed_objects(refresh.ref)
        # the label alone is not proof: anybody may set it, and a deleted refresh may have had the same name
        labelled = [parse_object(Job, item) for item in self._store.by_refresh(JOBS, refresh.ref)]
        uid = refresh.metadata.uid
        jobs = tuple(job for job in labelled if job.refresh_uid == uid)
        pods = tuple(parse_object(Pod, item) for item in self._store.by_refresh(PODS, refresh.ref)) if jobs else ()
        denied, missing = await self._secret_problems(refresh)
        terminating = any(pod.metadata.deletion_timestamp for pod in pods) and await self._is_terminating(refresh.ref.namespace)
        return Snapshot(
            refresh=refresh,
            objects=objects,
            jobs=jobs,
            previous_owner_jobs=tuple(job for job in labelled if job.refresh_uid not in (uid, None)),
            pods=pods,
            heartbeat_age=heartbeat_age,
            missing_secrets=missing,
            pause=pause,
            namespace_terminating=terminating,
            denied_secrets=denied,
            denied_code=None if isinstance(refresh.spec, InvalidSpec) else self._code.denial(refresh.spec),
        )

    async def denied_secrets(self, refresh: Refresh, spec: RefreshSpec) -> dict[str, str]:
        """Return the Secrets that a refresh names and may not use, each with the reason."""
        return await self._secrets.denied(refresh.ref, spec)

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return the content of a Secret, or None if it does not exist. The content must be neither logged nor kept."""
        found = await self._find(SECRETS, namespace, name)
        if found is None:
            return None
        return {key: base64.b64decode(str(value)).decode(errors="surrogateescape") for key, value in mapping(found.get("data")).items()}

    async def unfinished_jobs_of_terminating_namespaces(self) -> AsyncIterator[tuple[str, str]]:
        """Yield namespace and name of the unfinished Jobs in terminating namespaces."""
        jobs: dict[str, list[str]] = {}
        for ref in self._store.refreshes():
            with suppress(Unreadable):
                seen = [parse_object(Job, item) for item in self._store.by_refresh(JOBS, ref)]
                jobs.setdefault(ref.namespace, []).extend(job.metadata.name for job in seen if not job.end)
        for namespace, unfinished in jobs.items():
            if unfinished and await self._is_terminating(namespace):
                for name in unfinished:
                    yield namespace, name

    async def _managed_objects(self, ref: Ref) -> dict[str, Json]:
        objects = {}
        managed = [(CRONJOBS, cronjob_name(ref.name)), *((kind, rbac_name(ref.name)) for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS))]
        for kind, name in managed:
            item = self._store.get(kind, ref.namespace, name)
            if item is None and kind.name in self.unlabelled.get(ref, ()):
                item = await self._find(kind, ref.namespace, name)
            if item:
                objects[kind.name] = item
        return objects

    async def _secret_problems(self, refresh: Refresh) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the denied Secrets, and what is missing in the Secret of the warehouse. A denied Secret is not read."""
        if isinstance(refresh.spec, InvalidSpec):
            return {}, ()
        warehouse = refresh.spec.warehouse.secret_ref.name
        denied = await self.denied_secrets(refresh, refresh.spec)
        return denied, () if warehouse in denied else await self._secrets.missing(refresh.ref, warehouse)

    async def _secret_labels(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return the labels of a Secret without reading its content, or None if it does not exist."""
        try:
            found = await self._client.get_metadata(SECRETS.path(namespace, name))
        except NotFound:
            return None
        return {key: str(value) for key, value in mapping(mapping(found.get("metadata")).get("labels")).items()}

    async def _is_terminating(self, namespace: str) -> bool:
        found = await self._find(NAMESPACES, "", namespace)
        return found is None or mapping(found.get("metadata")).get("deletionTimestamp") is not None

    async def _find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        try:
            return await self._client.get(kind.path(namespace, name))
        except NotFound:
            return None
