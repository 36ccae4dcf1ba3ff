"""The objects that should be: CronJob and permissions of a refresh, the Job that answers a request; pure.

What the API server would fill in by default is written out, so that anything else found in an object is a change by somebody.
"""

import json
from datetime import timedelta
from hashlib import sha256
from typing import Final

from pydantic import JsonValue

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_api.run_request import ExitCode
from refresh_api.spec import RefreshSpec
from refresh_api.values import duration
from refresh_operator.names import cronjob_name, rbac_name, requested_job_name
from refresh_operator.settings import Settings
from refresh_operator.specs.pod import NO_SECRETS, pod_metadata, pod_spec
from refresh_operator.state.kube_types import Metadata
from refresh_operator.state.refresh import NO_PARAMETERS, Refresh, RunParameters

STARTING_DEADLINE: Final = timedelta(minutes=5)
"""A slot that could not start is made up for within this time. Always set: a CronJob without it stops for good after 100 missed slots."""
HISTORY_LIMIT: Final = 5
"""Finished Jobs of each kind that the CronJob keeps."""
REPORT_TIME: Final = timedelta(seconds=60)
"""What a pod may last beyond the runner's own deadline, so that the runner can report."""
MAX_BACKOFF: Final = timedelta(minutes=6)
"""Longest pause before another attempt that the Job controller makes."""
HASH_ANNOTATION: Final = f"{api.GROUP}/desired"
"""Annotation on what the operator keeps: a hash of what it should be. It tells a change by hand from a change of what is wanted."""


def managed_objects(
    refresh: Refresh, spec: RefreshSpec, settings: Settings, *, suspended: bool, withheld: frozenset[str] = NO_SECRETS
) -> tuple[Json, ...]:
    """All objects that are kept equal to a refresh, in the order in which they are made. Secrets that are `withheld` are not mounted."""
    return (*rbac(refresh), cronjob(refresh, spec, settings, suspended=suspended, withheld=withheld))


def cronjob(refresh: Refresh, spec: RefreshSpec, settings: Settings, *, suspended: bool, withheld: frozenset[str] = NO_SECRETS) -> Json:
    """The CronJob that starts a refresh's runs, unless they are off for whatever reason."""
    body: Json = {
        "schedule": spec.schedule,
        "timeZone": spec.time_zone,
        "suspend": suspended,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": _seconds(STARTING_DEADLINE),
        "successfulJobsHistoryLimit": HISTORY_LIMIT,
        "failedJobsHistoryLimit": HISTORY_LIMIT,
        "jobTemplate": {
            "metadata": {"labels": _labels(refresh), "annotations": _run_annotations(refresh)},
            "spec": _job(refresh, spec, settings, withheld=withheld),
        },
    }
    return _kept(refresh, "batch/v1", "CronJob", cronjob_name(refresh.metadata.name), {"spec": body})


def rbac(refresh: Refresh) -> tuple[Json, Json, Json]:
    """The ServiceAccount, Role and RoleBinding of a refresh's pods: they may write its own status, and nothing else."""
    name = rbac_name(refresh.metadata.name)
    rule: Json = {
        "apiGroups": [api.GROUP],
        "resources": [f"{api.PLURAL}/status"],
        "resourceNames": [refresh.metadata.name],
        "verbs": ["patch"],
    }
    binding: Json = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": refresh.metadata.namespace}],
    }
    return (
        _kept(refresh, "v1", "ServiceAccount", name, {"automountServiceAccountToken": False}),
        _kept(refresh, "rbac.authorization.k8s.io/v1", "Role", name, {"rules": [rule]}),
        _kept(refresh, "rbac.authorization.k8s.io/v1", "RoleBinding", name, binding),
    )


def requested_job(refresh: Refresh, spec: RefreshSpec, settings: Settings, cronjob_seen: Metadata, token: str) -> Json:
    """The Job that answers one request.

    It belongs to the CronJob, which keeps its history, and to the refresh, so that it outlives the CronJob.
    """
    asked = refresh.parameters
    controller: Json = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": cronjob_seen.name,
        "uid": cronjob_seen.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": requested_job_name(refresh.metadata.name, refresh.metadata.uid, token),
            "namespace": refresh.metadata.namespace,
            "labels": _labels(refresh),
            "annotations": {**_run_annotations(refresh), api.TOKEN_ANNOTATION: token, **asked.annotations},
            "ownerReferences": [controller, additional_owner(refresh)],
        },
        "spec": _job(refresh, spec, settings, asked),
    }


def additional_owner(refresh: Refresh) -> Json:
    """The entry by which a Job belongs to its refresh beside its CronJob, so that it outlives that one."""
    return {**_owner(refresh), "controller": False}


def _kept(refresh: Refresh, api_version: str, kind: str, name: str, body: Json) -> Json:
    metadata: Json = {
        "name": name,
        "namespace": refresh.metadata.namespace,
        "labels": _labels(refresh),
        "annotations": {HASH_ANNOTATION: sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]},
        "ownerReferences": [_owner(refresh)],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def _labels(refresh: Refresh) -> Json:
    return {api.REFRESH_LABEL: refresh.metadata.name, "app.kubernetes.io/managed-by": "refresh-operator"}


def _run_annotations(refresh: Refresh) -> Json:
    return {api.UID_ANNOTATION: refresh.metadata.uid, api.GENERATION_ANNOTATION: str(refresh.metadata.generation)}


def _owner(refresh: Refresh) -> Json:
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "name": refresh.metadata.name,
        "uid": refresh.metadata.uid,
        "controller": True,
        # true would need a permission on finalizers, and delays a deletion for nothing
        "blockOwnerDeletion": False,
    }


def _job(
    refresh: Refresh, spec: RefreshSpec, settings: Settings, asked: RunParameters = NO_PARAMETERS, withheld: frozenset[str] = NO_SECRETS
) -> Json:
    attempt = duration(spec.timeout) + REPORT_TIME
    whole = (spec.retries + 1) * attempt + duration(spec.start_timeout) + spec.retries * MAX_BACKOFF
    return {
        # Indexed, since only then the pod is told how often the run failed before
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimitPerIndex": spec.retries,
        "activeDeadlineSeconds": _seconds(whole),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                _on_exit("FailJob", ExitCode.FAILED, ExitCode.USAGE),
                _on_exit("Ignore", ExitCode.INTERRUPTED),
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": pod_metadata(_labels(refresh), spec),
            "spec": pod_spec(refresh, spec, settings, attempt, asked, withheld),
        },
    }


def _on_exit(action: str, *codes: ExitCode) -> Json:
    values: list[JsonValue] = [int(code) for code in codes]
    return {"action": action, "onExitCodes": {"containerName": "runner", "operator": "In", "values": values}}


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())
