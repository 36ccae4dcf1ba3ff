"""The objects that the operator keeps up to date for a refresh: its CronJob, and the RBAC objects of its pods; pure.

Defaults of the API server are written out, so that any other value in an object means that somebody has edited it.
"""

from typing import Final

from refresh_api import cron
from refresh_api.objects import Json
from refresh_api.project import SourceRef
from refresh_api.scheduled_time import STARTING_DEADLINE
from refresh_api.spec import RefreshSpec
from refresh_operator.names import cronjob_name
from refresh_operator.settings import Settings
from refresh_operator.specs.job import job_spec
from refresh_operator.specs.metadata import labels, managed, run_annotations
from refresh_operator.specs.pod import NO_SECRETS
from refresh_operator.specs.rbac import rbac
from refresh_operator.state.refresh import Refresh

HISTORY_LIMIT: Final = 5
"""Number of succeeded and of failed Jobs that the CronJob keeps."""


def managed_objects(
    refresh: Refresh, spec: RefreshSpec, settings: Settings, *, suspended: bool, withheld: frozenset[str] = NO_SECRETS
) -> tuple[Json, ...]:
    """Return all objects that are kept up to date for a refresh, in the order of their creation. Secrets in `withheld` are not mounted."""
    origin = settings.origin_of(spec.project)
    source = origin if isinstance(origin, SourceRef) else None
    return (*rbac(refresh, source), cronjob(refresh, spec, settings, suspended=suspended, withheld=withheld))


def cronjob(refresh: Refresh, spec: RefreshSpec, settings: Settings, *, suspended: bool, withheld: frozenset[str] = NO_SECRETS) -> Json:
    """Return the CronJob that starts a refresh's scheduled runs."""
    body: Json = {
        "schedule": cron.resolve(spec.schedule, str(refresh.ref)),
        "timeZone": spec.time_zone,
        "suspend": suspended,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": int(STARTING_DEADLINE.total_seconds()),
        "successfulJobsHistoryLimit": HISTORY_LIMIT,
        "failedJobsHistoryLimit": HISTORY_LIMIT,
        "jobTemplate": {
            "metadata": {"labels": labels(refresh), "annotations": run_annotations(refresh)},
            "spec": job_spec(refresh, spec, settings, withheld=withheld),
        },
    }
    return managed(refresh, "batch/v1", "CronJob", cronjob_name(refresh.metadata.name), {"spec": body})
