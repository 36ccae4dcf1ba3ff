"""The lifecycle of a refresh's Jobs after their creation: which Jobs the refresh adopts, and which the operator deletes; pure."""

from dataclasses import dataclass

from refresh_operator.runs.runs import EndedRun
from refresh_operator.specs.cronjob import HISTORY_LIMIT
from refresh_operator.state.kube_types import job_names
from refresh_operator.state.snapshot import Snapshot


@dataclass(frozen=True)
class JobLifecycle:
    """Decides by name which Jobs of one snapshot to adopt and which to delete."""

    snapshot: Snapshot

    def to_adopt(self) -> tuple[str, ...]:
        """Return the active Jobs that only the CronJob owns, and that would be deleted with it."""
        uid = self.snapshot.refresh.metadata.uid
        active = (job for job in self.snapshot.jobs if job.is_active)
        return job_names(job for job in active if not job.is_owned_by(uid))

    def to_delete(self, ended: tuple[EndedRun, ...]) -> tuple[str, ...]:
        """Return the Jobs to delete."""
        return (*self._failed(ended), *self._expired(), *self._of_previous_owner())

    def active(self) -> tuple[str, ...]:
        """Return the active Jobs.

        In a terminating namespace they block its deletion: Kubernetes keeps the pod of a Job that has attempts left, but creates no new
        pod.
        """
        return job_names(job for job in (*self.snapshot.jobs, *self.snapshot.checks) if job.is_active)

    def _failed(self, ended: tuple[EndedRun, ...]) -> tuple[str, ...]:
        """Active Jobs whose run is recorded as ended, including those whose deletion failed earlier."""
        over = {each.run.id for each in ended if each.delete_job} | {run.id for run in self.snapshot.refresh.status.history}
        return job_names(job for job in self.snapshot.jobs if job.metadata.name in over and job.is_active)

    def _expired(self) -> tuple[str, ...]:
        """Finished Jobs beyond the history limit whose CronJob no longer exists, and so cannot delete them."""
        recorded = {run.id for run in self.snapshot.refresh.status.history}
        orphans = [job for job in self.snapshot.jobs if job.end and not any(owner.controller for owner in job.metadata.owner_references)]
        orphans = [job for job in orphans if job.metadata.name in recorded and not job.metadata.deletion_timestamp]
        newest_first = sorted(orphans, key=lambda job: job.metadata.creation_timestamp, reverse=True)
        return job_names(newest_first[HISTORY_LIMIT:])

    def _of_previous_owner(self) -> tuple[str, ...]:
        """Active Jobs of a deleted refresh of the same name. Jobs newer than this refresh are kept, in case the snapshot is outdated."""
        created = self.snapshot.refresh.metadata.creation_timestamp
        jobs = self.snapshot.previous_owner_jobs
        return job_names(job for job in jobs if job.is_active and job.metadata.creation_timestamp <= created)
