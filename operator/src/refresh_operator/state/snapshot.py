"""One refresh and all objects that belong to it, as they were at one moment; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from refresh_api.objects import Json
from refresh_operator.code_policy import Denial
from refresh_operator.state.kube_types import JOB_NAME_LABEL, Job, Pod
from refresh_operator.state.refresh import Refresh


@dataclass(frozen=True)
class Pause:
    """The pause of all refreshes, as set by a cluster administrator."""

    message: str
    until: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """One refresh and all objects that belong to it."""

    refresh: Refresh
    objects: Mapping[str, Json] = field(default_factory=dict)
    """The objects with the names that the operator uses, by kind: CronJob, ServiceAccount, Role, RoleBinding."""
    jobs: tuple[Job, ...] = ()
    previous_owner_jobs: tuple[Job, ...] = ()
    """Jobs of a deleted refresh of the same name."""
    pods: tuple[Pod, ...] = ()
    heartbeat_age: timedelta = timedelta(0)
    """For how long `status.run` has shown the same heartbeat, by the operator's clock."""
    missing_secrets: tuple[str, ...] = ()
    """What is missing in the Secret of the warehouse, one message each; empty if it is complete."""
    pause: Pause | None = None
    namespace_terminating: bool = False
    """Whether the namespace is being deleted; only checked when a pod of a run is being deleted."""
    denied_secrets: Mapping[str, str] = field(default_factory=dict)
    """Secrets that the refresh names and may not use, each with the reason."""
    denied_code: Denial | None = None
    """Why the refresh may not run its image or its project; None if it may."""

    def pods_of(self, job: str) -> list[Pod]:
        """Return the pods of one Job, oldest first."""
        pods = [pod for pod in self.pods if pod.metadata.labels.get(JOB_NAME_LABEL) == job]
        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)

    def pending_since(self, job: str, created: datetime) -> datetime:
        """Return when the newest pod of a Job was created, or when the Job was if it has no pod."""
        pods = self.pods_of(job)
        return pods[-1].metadata.creation_timestamp if pods else created
