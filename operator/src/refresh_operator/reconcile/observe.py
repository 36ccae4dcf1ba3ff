"""Observe one refresh and all objects that belong to it. Watched objects are read from the store."""

import base64
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta

from refresh_api import names
from refresh_api.objects import Json
from refresh_api.project import SOURCES_GROUP, OnProjectChange
from refresh_api.spec import RefreshSpec
from refresh_operator.code_policy import CodeRules
from refresh_operator.denial import Denial
from refresh_operator.dependency_policy import DependencyRules
from refresh_operator.errors import Forbidden, NotFound, PreviewsInstalled, Unreadable
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import (
    CRONJOBS,
    JOBS,
    NAMESPACES,
    PODS,
    PREVIEWS,
    RECONCILED,
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
from refresh_operator.secret_policy import SecretRules, secret_uses
from refresh_operator.state.kube_types import Job, Pod, mapping, parse_object
from refresh_operator.state.refresh import InvalidSpec, Refresh, parse_refresh
from refresh_operator.state.snapshot import Pause, Snapshot, SourceSeen

log = logging.getLogger(__name__)


class Observer:
    """Reads everything that belongs to refreshes."""

    def __init__(self, client: KubeClient, store: Store, secrets: SecretRules, code: CodeRules, dependencies: DependencyRules) -> None:
        self._client = client
        self._store = store
        self.secrets = SecretChecker(self.secret, self._secret_labels, secrets)
        self.code = code
        self._dependencies = dependencies
        self.unlabelled: dict[Ref, set[str]] = {}
        """Kinds with an object that has the name of a managed object but not the label, so that no watch reports it."""
        self._has_previews: bool | None = None
        """Whether the CRD of previews is installed; None if that is not known yet."""

    def refreshes(self) -> Iterator[Refresh]:
        """Yield all refreshes."""
        return (seen for ref in self._store.refreshes() if (seen := self.refresh(ref)))

    def refresh(self, ref: Ref) -> Refresh | None:
        """Return one refresh, or None if it is deleted."""
        raw = self._store.get(REFRESHES, ref.namespace, ref.name)
        if raw is None:
            self.secrets.forget(ref)
            self.unlabelled.pop(ref, None)
        return parse_refresh(raw) if raw else None

    async def resync(self, namespace: str) -> set[Ref]:
        """List all watched objects of a namespace, or of all if empty, into the store; return the refreshes for which it was outdated."""
        changed = set()
        for kind in WATCHED:
            try:
                changed |= await self._list(kind, namespace)
            except NotFound:
                if kind != PREVIEWS:
                    raise
                self._found_previews(exist=False)
            else:
                if kind == PREVIEWS:
                    self._found_previews(exist=True)
        return changed | self.secrets.users_of(await self.secrets.changed())

    async def _list(self, kind: Kind, namespace: str) -> set[Ref]:
        query = {} if kind in RECONCILED else {"labelSelector": names.REFRESH_LABEL}
        listed: set[Key] = set()
        changed, version = set[Ref](), 0
        async for items, listed_at in self._client.list_pages(kind.path(namespace), query):
            of_page, refs = self._store.put_page(kind, items)
            listed |= of_page
            changed |= refs
            version = listed_at or version
        return changed | self._store.prune(kind, namespace, listed, version)

    def _found_previews(self, *, exist: bool) -> None:
        """Log that previews are not installed. Raise PreviewsInstalled if they are now, since only a new process watches them."""
        if exist and self._has_previews is False:
            raise PreviewsInstalled("the CRD RefreshPreview was installed: restarting to watch previews")
        if not exist and self._has_previews is not False:
            log.warning("the CRD RefreshPreview is not installed, so there are no previews: run `kubectl apply -f crds/`")
        self._has_previews = exist

    async def refetch(self, ref: Ref) -> None:
        """Get a refresh and its CronJob from the API server, because the store may be outdated."""
        for kind, name in ((REFRESHES, ref.name), (CRONJOBS, cronjob_name(ref.name))):
            found = await self._find(kind, ref.namespace, name)
            if found:
                self._store.put(kind, found)

    async def observe(self, refresh: Refresh, heartbeat_age: timedelta, pause: Pause | None) -> Snapshot:
        """Return a snapshot of everything that belongs to a refresh. Raise Unreadable if an object has a field of a wrong type."""
        objects = await self._managed_objects(refresh.ref)
        # the label alone proves nothing: anybody may set it, and a deleted refresh may have had the same name
        labelled = [parse_object(Job, item) for item in self._store.by_refresh(JOBS, refresh.ref)]
        uid = refresh.metadata.uid
        jobs = tuple(job for job in labelled if job.refresh_uid == uid)
        checks = tuple(job for job in labelled if names.CHECK_LABEL in job.metadata.labels and job.is_owned_by(uid))
        pods = tuple(parse_object(Pod, item) for item in self._store.by_refresh(PODS, refresh.ref)) if jobs or checks else ()
        denied, missing = await self._secret_problems(refresh)
        terminating = any(pod.metadata.deletion_timestamp for pod in pods) and await self._is_terminating(refresh.ref.namespace)
        return Snapshot(
            refresh=refresh,
            objects=objects,
            jobs=jobs,
            previous_owner_jobs=tuple(job for job in labelled if job.refresh_uid not in (uid, None)),
            checks=checks,
            source=await self._source(refresh),
            pods=pods,
            heartbeat_age=heartbeat_age,
            missing_secrets=missing,
            pause=pause,
            namespace_terminating=terminating,
            denied_secrets=denied,
            denial=self._denial(refresh),
        )

    def _denial(self, refresh: Refresh) -> Denial | None:
        """Return why a refresh may not run as its spec says, which is known only if it can be parsed."""
        spec = refresh.spec
        if isinstance(spec, InvalidSpec):
            return None
        return self.code.denial(spec) or self._dependencies.denial(refresh.ref.namespace, refresh.ref.name, spec.depends_on)

    async def _source(self, refresh: Refresh) -> SourceSeen | None:
        """Return the artifact of the refresh's source; None unless a new one is to start a run. There is no watch: RBAC allows get only."""
        project = None if isinstance(refresh.spec, InvalidSpec) else refresh.spec.project
        if project is None or project.on_project_change is not OnProjectChange.RUN or self.code.project_denial(project):
            return None
        reference = project.source_ref
        if reference is None:
            return None
        kind = Kind(reference.kind, f"apis/{SOURCES_GROUP}/v1", reference.kind.plural)
        try:
            found = await self._find(kind, refresh.ref.namespace, reference.name)
        except Forbidden as error:
            return SourceSeen(error=f"the operator may not read {reference.url}: {error}")
        if found is None:
            return SourceSeen(error=f"{reference.url} does not exist (see spec.project.sourceRef)")
        artifact = mapping(mapping(found.get("status")).get("artifact"))
        revision = artifact.get("revision")
        if not isinstance(revision, str) or not revision:
            return SourceSeen(
                error=f"{reference.url} has no artifact yet (see: kubectl describe -n {refresh.ref.namespace} {reference.url})"
            )
        return SourceSeen(revision, str(artifact.get("lastUpdateTime") or ""))

    async def denied_secrets(self, refresh: Refresh, spec: RefreshSpec) -> dict[str, str]:
        """Return the Secrets that a refresh names but may not use, each with the reason."""
        return await self.secrets.denied(refresh.ref, secret_uses(spec))

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return the content of a Secret, or None if it does not exist. Never log or keep the content."""
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
        """Return the denied Secrets, and what is missing in the Secret of the warehouse. A denied Secret is never read."""
        if isinstance(refresh.spec, InvalidSpec):
            return {}, ()
        warehouse = refresh.spec.warehouse.secret_ref.name
        denied = await self.denied_secrets(refresh, refresh.spec)
        return denied, () if warehouse in denied else await self.secrets.missing(refresh.ref, warehouse)

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
