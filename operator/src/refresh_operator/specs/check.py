"""The Job that checks a refresh for a new commit of its project; pure.

Its pod has the repository's Secret and nothing else: no token for the API server, and not the warehouse's Secret.
"""

from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_api.project import Git
from refresh_api.resources import Resources
from refresh_api.spec import RefreshSpec
from refresh_api.values import duration
from refresh_operator.names import rbac_name
from refresh_operator.settings import Settings
from refresh_operator.specs.metadata import labels, owner
from refresh_operator.specs.pod import (
    FETCH,
    REPOSITORY,
    ca_volume,
    container,
    fetch_environment,
    literal,
    pod_metadata,
    repository_volume,
    restricted_pod,
    scratch_volumes,
    secret_mount,
)
from refresh_operator.state.refresh import Refresh

_START: Final = timedelta(minutes=5)
"""Time for the pod to start."""
_RESOURCES: Final = Resources.model_validate({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}})


def check_job(refresh: Refresh, spec: RefreshSpec, git: Git, settings: Settings, name: str) -> Json:
    """Return the Job: one attempt, since the next check follows anyway."""
    marks: Json = {**labels(refresh), api.CHECK_LABEL: api.PROJECT_CONTAINER}
    limit = duration(git.timeout) + _START
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": refresh.metadata.namespace,
            "labels": marks,
            "annotations": {api.GENERATION_ANNOTATION: str(refresh.metadata.generation)},
            "ownerReferences": [owner(api.KIND, refresh.metadata)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(limit.total_seconds()),
            "template": {"metadata": pod_metadata(marks, spec, api.PROJECT_CONTAINER), "spec": _pod(refresh, spec, git, settings, limit)},
        },
    }


def _pod(refresh: Refresh, spec: RefreshSpec, git: Git, settings: Settings, limit: timedelta) -> Json:
    small = spec.model_copy(update={"resources": _RESOURCES})
    mounts: list[JsonValue] = [{"name": FETCH, "mountPath": "/tmp"}]  # noqa: S108 - a volume of this pod
    volumes = scratch_volumes(small, (FETCH,))
    if git.secret_ref:
        mounts.append(secret_mount(REPOSITORY, git.secret_ref.name))
        volumes.append(repository_volume(git.secret_ref.name))
    environment = fetch_environment(literal(api.RUN_REQUEST_ENV, refresh.run_request(spec).text), git, settings)
    return {
        **restricted_pod(rbac_name(refresh.metadata.name), spec, settings, limit),
        "automountServiceAccountToken": False,
        "containers": [container(settings, small, api.PROJECT_CONTAINER, "poll", environment, mounts)],
        "volumes": [*volumes, *ca_volume(settings)],
    }
