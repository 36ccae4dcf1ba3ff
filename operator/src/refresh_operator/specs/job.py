"""The Job of a run, scheduled or requested; pure."""

from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_api.run_request import ExitCode
from refresh_api.spec import RefreshSpec
from refresh_api.values import duration
from refresh_operator.names import requested_job_name
from refresh_operator.settings import Settings
from refresh_operator.specs.metadata import additional_owner, labels, run_annotations
from refresh_operator.specs.pod import NO_SECRETS, pod_metadata, pod_spec
from refresh_operator.state.kube_types import Metadata
from refresh_operator.state.refresh import NO_PARAMETERS, Refresh, RunParameters

REPORT_TIME: Final = timedelta(seconds=60)
"""How long a pod may run beyond the runner's own deadline, so that the runner has time to report."""
MAX_BACKOFF: Final = timedelta(minutes=6)
"""Maximum delay of the Job controller before another attempt."""


def requested_job(
    refresh: Refresh, spec: RefreshSpec, settings: Settings, cronjob: Metadata, token: str, revision: str | None = None
) -> Json:
    """Return the Job for one request: by an annotation, with its parameters, or by a new revision of the project.

    It is owned by the CronJob, which limits the history, and by the refresh, so that it survives the CronJob.
    """
    parameters = NO_PARAMETERS if revision else refresh.parameters
    cause: Json = {api.PROJECT_ANNOTATION: revision} if revision else {api.REQUEST_ANNOTATION: token}
    controller: Json = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": cronjob.name,
        "uid": cronjob.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": requested_job_name(refresh.metadata.name, refresh.metadata.uid, token),
            "namespace": refresh.metadata.namespace,
            "labels": labels(refresh),
            "annotations": {**run_annotations(refresh), **cause, **parameters.annotations},
            "ownerReferences": [controller, additional_owner(refresh)],
        },
        "spec": job_spec(refresh, spec, settings, parameters),
    }


def job_spec(
    refresh: Refresh,
    spec: RefreshSpec,
    settings: Settings,
    parameters: RunParameters = NO_PARAMETERS,
    withheld: frozenset[str] = NO_SECRETS,
) -> Json:
    """Return the spec of a Job. Its deadline allows for all attempts and the delays between them."""
    origin = settings.origin_of(spec.project)
    containers = (api.RUNNER_CONTAINER, *([api.PROJECT_CONTAINER] if origin else []))
    attempt = duration(spec.timeout) + REPORT_TIME + (duration(origin.timeout) if origin else timedelta())
    whole = (spec.retries + 1) * attempt + duration(spec.start_timeout) + spec.retries * MAX_BACKOFF
    return {
        # only pods of an Indexed Job get the number of earlier failures
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimitPerIndex": spec.retries,
        "activeDeadlineSeconds": int(whole.total_seconds()),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                *(each for container in containers for each in _on_exit(container)),
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": pod_metadata(labels(refresh), spec),
            "spec": pod_spec(refresh, spec, settings, attempt, parameters, withheld),
        },
    }


def _on_exit(container: str) -> list[JsonValue]:
    """Return the rules for a container by its name: the cluster may add others, which have their own exit codes."""
    final, interrupted = (int(ExitCode.FAILED), int(ExitCode.USAGE)), (int(ExitCode.INTERRUPTED),)
    return [
        {"action": action, "onExitCodes": {"containerName": container, "operator": "In", "values": list(values)}}
        for action, values in (("FailJob", final), ("Ignore", interrupted))
    ]
