"""One refresh and all objects that belong to it, as they were at one moment; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from refresh_api.objects import Json
from refresh_api.project import DEFAULT_FETCH_TIMEOUT
from refresh_api.values import duration
from refresh_operator.denial import Denial
from refresh_operator.state.kube_types import JOB_NAME_LABEL, Job, Pod
from refresh_operator.state.refresh import InvalidSpec, Refresh


@dataclass(frozen=True)
class Pause:
    """The pause of all refreshes, as set by a cluster administrator."""

    message: str
    until: datetime | None = None


@dataclass(frozen=True)
class SourceSeen:
    """The artifact of a source of Flux: its revision and when it was made, or why it is not known."""

    revision: str | None = None
    made: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """One refresh and all objects that belong to it."""

    refresh: Refresh
    objects: Mapping[str, Json] = field(default_factory=dict)
    """The objects with the names that the operator uses, by kind: CronJob, ServiceAccount, Role, RoleBinding."""
    jobs: tuple[Job, ...] = ()
    previous_owner_jobs: tuple[Job, ...] = ()
    """Jobs of a deleted refresh of the same name."""
    checks: tuple[Job, ...] = ()
    """Jobs that check for a new commit of the project."""
    source: SourceSeen | None = None
    """The artifact of the project's source, if it is observed."""
    pods: tuple[Pod, ...] = ()
    heartbeat_age: timedelta = timedelta(0)
    """How long `status.run` has shown the same heartbeat, by the operator's clock."""
    missing_secrets: tuple[str, ...] = ()
    """One message for each thing that is missing in the Secret of the warehouse; empty if it is complete."""
    pause: Pause | None = None
    namespace_terminating: bool = False
    """Whether the namespace is terminating; only checked while a pod of a run is terminating."""
    denied_secrets: Mapping[str, str] = field(default_factory=dict)
    """Secrets that the refresh names but may not use, each with the reason."""
    denial: Denial | None = None
    """Why the refresh may not run its image or its project, or depend on another refresh; None if it may."""

    def pods_of(self, job: str) -> list[Pod]:
        """Return the pods of one Job, oldest first."""
        pods = [pod for pod in self.pods if pod.metadata.labels.get(JOB_NAME_LABEL) == job]
        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)

    def pending_since(self, job: str, created: datetime) -> datetime:
        """Return when the start timeout of a Job's newest pod began: at its creation, or at that of the Job if it has no pod.

        A pod that has fetched its project gets the time that this took in addition. All times are by the API server's clock, because those
        of nodes may differ.
        """
        pods = self.pods_of(job)
        if not pods:
            return created
        return pods[-1].metadata.creation_timestamp + (self._fetch_timeout if pods[-1].has_fetched else timedelta())

    @property
    def _fetch_timeout(self) -> timedelta:
        spec = self.refresh.spec
        project = None if isinstance(spec, InvalidSpec) else spec.project
        return duration(project.origin.timeout if project else DEFAULT_FETCH_TIMEOUT)
