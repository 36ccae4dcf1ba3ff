"""The reconciliation of one preview: observe it, decide, apply the decision."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from refresh_api import names
from refresh_api.objects import Json
from refresh_api.preview import ENDED, PreviewReason, PreviewState, PreviewStatus
from refresh_api.spec import RefreshSpec
from refresh_api.status import clip
from refresh_operator.errors import Conflict, Forbidden, NotFound, Unprocessable, Unreadable
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import JOBS, MANAGED, PODS, PREVIEWS, REFRESHES
from refresh_operator.kube.store import Store
from refresh_operator.names import Ref
from refresh_operator.observability.metrics import PreviewNumbers
from refresh_operator.previews.decision import PreviewDecision, decide, failed_status
from refresh_operator.previews.events import events_of
from refresh_operator.previews.model import Preview, PreviewSnapshot, parse_preview
from refresh_operator.previews.objects import secret_uses
from refresh_operator.reconcile.reconciler import Reconciler, Services
from refresh_operator.specs.diff import owned_by
from refresh_operator.state.kube_types import JOB_NAME_LABEL, Job, Pod, mapping, parse_object

log = logging.getLogger(__name__)


@dataclass
class Previews:
    """Reconciles previews, by the services that reconcile refreshes."""

    client: KubeClient
    store: Store
    services: Services
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from observing a preview to applying the decision, so that no more start at a time than may run."""
    _not_ended: dict[Ref, str] = field(default_factory=dict)
    """Previews that had not ended when they were last seen, by their UIDs. Each end is counted once."""

    @property
    def reconciler(self) -> Reconciler:
        """How previews are reconciled."""
        return Reconciler(self.reconcile_once, self.refetch, self.report_bug)

    async def reconcile_once(self, ref: Ref) -> timedelta | None:
        """Make the cluster match one preview. Return after what time to reconcile it again, or None if it is deleted."""
        async with self._starting:
            raw = self.store.get(PREVIEWS, ref.namespace, ref.name)
            if raw is None:
                self.services.observer.secrets.forget(ref)
                self._not_ended.pop(ref, None)
                self._wake_all(ref.namespace)
                return None
            if not self.services.acts_in(ref.namespace):
                return self.services.settings.recheck
            try:
                preview = parse_preview(raw)
                decision = await self._decide_and_apply(preview)
                self._count(preview, decision.status or preview.status)
            except Unreadable as error:
                log.warning("not acting on a preview: %s", error)
                return self.services.settings.recheck
        if decision.wakes:
            self._wake_all(ref.namespace)
        return decision.requeue_after

    async def _decide_and_apply(self, preview: Preview) -> PreviewDecision:
        now, settings = self.services.clock(), self.services.settings
        decision = decide(await self.observe(preview, now), settings, now)
        if not decision.create:
            await self._apply(preview, decision, now)
            return decision
        try:
            await self._apply(preview, decision, now)
        except Forbidden as error:
            # another try may be allowed
            message = clip(f"the operator lacks a permission: {error}")
            status = preview.status.model_copy(update={"state": PreviewState.PENDING, "message": message})
            decision = PreviewDecision(status=status, events=events_of(preview, status, now), requeue_after=settings.recheck)
        except Unprocessable as error:
            message = f"Kubernetes rejected an object of this preview: {error}"
            status = failed_status(preview, PreviewReason.INVALID_PREVIEW, message, now)
            decision = PreviewDecision(status=status, events=events_of(preview, status, now), wakes=True)
        else:
            # its status at once, so that the next preview sees that this one runs
            decision = decide(await self.observe(preview, now), settings, now)
        await self._apply(preview, decision, now)
        return decision

    async def observe(self, preview: Preview, now: datetime) -> PreviewSnapshot:
        """Return a snapshot of a preview and what belongs to it."""
        namespace, observer, wanted = preview.metadata.namespace, self.services.observer, preview.spec
        item = self.store.get(JOBS, namespace, preview.object_name)
        # its name alone is not proof: anybody may create a Job with it
        job = parse_object(Job, item) if item and owned_by(item, preview.metadata.uid) else None
        pods = [parse_object(Pod, each) for each in self.store.by_refresh(PODS, preview.ref)] if job else []
        ours = (pod for pod in pods if pod.metadata.labels.get(JOB_NAME_LABEL) == preview.object_name)
        snapshot = PreviewSnapshot(
            preview=preview,
            job=job,
            pods=tuple(sorted(ours, key=lambda pod: pod.metadata.creation_timestamp)),
            pause=self.services.pause.current(now),
        )
        refresh = observer.refresh(Ref(namespace, wanted.refresh)) if wanted else None
        if refresh is None or job or preview.status.state in ENDED:
            return replace(snapshot, refresh=refresh)
        others = tuple(self._unfinished(namespace, wanted.refresh if wanted else "", preview))
        if not isinstance(refresh.spec, RefreshSpec) or refresh.spec.preview is None:
            return replace(snapshot, refresh=refresh, others=others)
        name = refresh.spec.preview.warehouse.secret_ref.name
        denied = await observer.secrets.denied(preview.ref, secret_uses(refresh.spec, refresh.spec.preview))
        missing = () if name in denied else await observer.secrets.missing(preview.ref, name, "spec.preview.warehouse.secretRef")
        code = observer.code.denial(refresh.spec) or observer.code.image_denial(wanted.image if wanted else None)
        return replace(snapshot, refresh=refresh, others=others, denied_secrets=denied, missing_secrets=missing, denied_code=code)

    async def refetch(self, ref: Ref) -> None:
        """Get a preview from the API server, since the store may be outdated."""
        try:
            self.store.put(PREVIEWS, await self.client.get(PREVIEWS.path(ref.namespace, ref.name)))
        except NotFound:
            log.info("the preview was deleted")

    async def report_bug(self, ref: Ref) -> None:
        """Do nothing: the log has the error, and the preview is tried again."""

    def _unfinished(self, namespace: str, refresh: str, but: Preview) -> list[Preview]:
        found = (each for each in self.readable(namespace) if each.spec and each.spec.refresh == refresh)
        return [each for each in found if not each.status.has_ended and each.ref != but.ref and not each.metadata.deletion_timestamp]

    def readable(self, namespace: str) -> Iterator[Preview]:
        """Yield the previews of a namespace, without those that cannot be read: they must not hold the others."""
        for item in self.store.previews(namespace):
            with suppress(Unreadable):
                yield parse_preview(item)

    async def _apply(self, preview: Preview, decision: PreviewDecision, now: datetime) -> None:
        namespace = preview.metadata.namespace
        if decision.delete:
            await self._post(preview, decision, now)
            await self.client.delete(PREVIEWS.path(namespace, preview.metadata.name))
            log.info("deleted the preview, which ended long ago")
            return
        for item in decision.create:
            await self._create(namespace, item)
        if decision.status:
            await self._write(preview, decision.status)
        if decision.delete_job:
            await self.client.delete(JOBS.path(namespace, preview.object_name))
            log.info("deleted Job %s", preview.object_name)
        await self._post(preview, decision, now)

    async def _post(self, preview: Preview, decision: PreviewDecision, now: datetime) -> None:
        for event in decision.events:
            await self.services.applier.post_event(preview, event, now)

    async def _create(self, namespace: str, item: Json) -> None:
        kind = MANAGED.get(str(item["kind"]), JOBS)
        try:
            self.store.put(kind, await self.client.create(kind.path(namespace), item))
        except Conflict:
            if kind == JOBS:
                raise
            return  # created by an earlier try
        log.info("created %s %s", kind.name, mapping(item["metadata"])["name"])

    async def _write(self, preview: Preview, status: PreviewStatus) -> None:
        """Write the operator's part of the status. Raise Conflict if the preview was changed since it was read, such as by its pod."""
        meta = preview.metadata
        body: Json = {
            "apiVersion": names.API_VERSION,
            "kind": names.PREVIEW_KIND,
            "metadata": {"name": meta.name, "namespace": meta.namespace, "resourceVersion": meta.resource_version},
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True, include=_OPERATOR_FIELDS),
        }
        path = PREVIEWS.path(meta.namespace, meta.name, "status")
        self.store.put(PREVIEWS, await self.client.apply(path, body, names.OPERATOR_FIELD_MANAGER))
        if status.has_ended:
            log.info("preview %s: %s", status.state, status.message)

    def _count(self, preview: Preview, status: PreviewStatus) -> None:
        """Count a preview if it has ended since it was last seen."""
        if not preview.status.has_ended:
            self._not_ended[preview.ref] = preview.metadata.uid
        if not status.has_ended or self._not_ended.pop(preview.ref, None) != preview.metadata.uid:
            return
        refresh = Ref(preview.ref.namespace, preview.spec.refresh if preview.spec else "")
        # of a refresh that does not exist, nothing would ever remove the figures
        if status.state and self.store.get(REFRESHES, refresh.namespace, refresh.name):
            took = status.completion_time - status.start_time if status.start_time and status.completion_time else None
            self.services.metrics.count_preview(refresh, status.state, took.total_seconds() if took else None)

    def numbers(self) -> PreviewNumbers:
        """Return the number of previews where this operator acts."""
        # not parsed as a whole: each may have a report of a hundred kilobytes
        return Counter(
            (namespace, str(mapping(item.get("spec")).get("refresh")), str(mapping(item.get("status")).get("state", PreviewState.PENDING)))
            for namespace in self.store.namespaces()
            if self.services.acts_in(namespace)
            for item in self.store.previews(namespace)
        )

    def _wake_all(self, namespace: str) -> None:
        """Queue the previews that wait, since one has ended."""
        for preview in self.readable(namespace):
            if preview.status.state is PreviewState.PENDING:
                self.services.queue.add(preview.ref)


_OPERATOR_FIELDS = {"state", "message", "conditions", "job", "start_time", "completion_time", "base_revision"}
"""Fields that the operator writes; the pod takes over the first three and the end."""
