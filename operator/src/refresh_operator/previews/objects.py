"""The objects of a preview: its Job, and the permissions of its pod; pure.

The pod runs code that nobody has reviewed. It has the Secret of spec.preview alone, and no container both has the repository's Secret and
executes anything of the repository.
"""

from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api import names as api
from refresh_api.cron import zone_of
from refresh_api.fields import SecretRef
from refresh_api.model import in_zone
from refresh_api.objects import Json
from refresh_api.preview import PreviewSpec
from refresh_api.preview_settings import PreviewSettings
from refresh_api.project import Git, GitRef, Project
from refresh_api.run_request import PreviewRequest, RefreshRef, RunRequest, run_vars
from refresh_api.spec import RefreshSpec
from refresh_api.values import duration
from refresh_operator.previews.model import Preview
from refresh_operator.settings import Settings
from refresh_operator.specs.job import REPORT_TIME
from refresh_operator.specs.metadata import labels, owner
from refresh_operator.specs.pod import (
    REPOSITORY,
    all_keys,
    ca_volume,
    container,
    fetch_container,
    fetch_environment,
    from_pod,
    literal,
    network_environment,
    pod_metadata,
    repository_volume,
    restricted_pod,
    scratch_volumes,
    secret_mount,
)
from refresh_operator.specs.rbac import status_permissions
from refresh_operator.state.kube_types import JOB_NAME_LABEL
from refresh_operator.state.refresh import Refresh

_AS_OF: Final = "as_of"
"""The dbt variable that is a run's date by default."""
BASE_ANNOTATION: Final = f"{api.GROUP}/base"
"""Annotation on a preview's Job: the revision that was live when it was created."""


def permissions(preview: Preview, refresh: Refresh) -> tuple[Json, ...]:
    """Return the ServiceAccount, Role and RoleBinding. The pod may patch the status of its own preview, and nothing else."""
    metadata = _metadata(preview, refresh)
    bodies = status_permissions(preview.object_name, api.PREVIEW_PLURAL, preview.metadata)
    return tuple({"apiVersion": version, "kind": kind, "metadata": metadata, **body} for version, kind, body in bodies)


def run_request(preview: Preview, wanted: PreviewSpec, refresh: Refresh, spec: RefreshSpec, ref: GitRef, operator: Settings) -> RunRequest:
    """Return what one container is told: the refresh with the preview's warehouse and this commit, and nothing that calls others.

    ValueError for invalid variables.
    """
    settings, project = spec.preview, spec.project
    if settings is None or project is None or project.git is None:
        raise ValueError("the refresh has no previews")
    of_preview = spec.model_copy(
        update={
            "warehouse": settings.warehouse,
            "project": Project(git=project.git.model_copy(update={"ref": ref})),
            "timeout": settings.timeout or spec.timeout,
            "resources": settings.resources or spec.resources,
            "retries": 0,
            "cache": None,
            "notifications": [],
            "lineage": None,
            "artifacts": None,
            "tracing": None,
            "depends_on": [],
            "preview": None,
        }
    )
    return RunRequest(
        refresh=RefreshRef(name=refresh.metadata.name, namespace=refresh.metadata.namespace, uid=refresh.metadata.uid),
        generation=refresh.metadata.generation,
        spec=of_preview,
        vars={**_date_of_live(refresh, spec), **wanted.vars},
        preview=PreviewRequest(
            name=preview.metadata.name,
            uid=preview.metadata.uid,
            allow=[str(each) for each in wanted.allow],
            select=wanted.select,
            all_models=wanted.image is not None and operator.image_of(wanted.image) != operator.image_of(spec.image),
            sample_rows=wanted.sample_rows,
        ),
    )


def _date_of_live(refresh: Refresh, spec: RefreshSpec) -> dict[str, JsonValue]:
    """Return the variable as_of of the run whose marts are live, so that a later date is no difference; empty if the spec sets it."""
    last = next((run for run in refresh.status.history if run.loads), None)
    requested = run_vars(last.vars) if last and last.vars else {}
    moment = (last.start_time or last.completion_time) if last else refresh.status.last_success_time
    if _AS_OF in spec.dbt.vars or moment is None:
        return {}
    return {_AS_OF: requested.get(_AS_OF, in_zone(moment, zone_of(spec.time_zone)).date().isoformat())}


def job(preview: Preview, refresh: Refresh, change: RunRequest, base: RunRequest, base_revision: str, settings: Settings) -> Json:
    """Return the Job: one attempt, in which two init containers fetch the two commits."""
    spec = change.spec
    git = _git(change)
    whole = duration(spec.timeout) + 2 * duration(git.timeout) + REPORT_TIME
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**_metadata(preview, refresh), "annotations": {BASE_ANNOTATION: base_revision}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int((whole + duration(spec.start_timeout)).total_seconds()),
            "template": {"metadata": pod_metadata(_labels(preview, refresh), spec), "spec": _pod(preview, change, base, whole, settings)},
        },
    }


def secret_uses(spec: RefreshSpec, settings: PreviewSettings) -> dict[str, str]:
    """Return the Secrets that a preview uses, each with the first field that names it."""
    uses = {settings.warehouse.secret_ref.name: "spec.preview.warehouse.secretRef"}
    if spec.project_secret:
        uses.setdefault(spec.project_secret, "spec.project.git.secretRef")
    for number, pull in enumerate(spec.pod_template.spec.image_pull_secrets if spec.pod_template else []):
        uses.setdefault(pull.name, f"spec.podTemplate.spec.imagePullSecrets[{number}]")
    return uses


def _pod(preview: Preview, change: RunRequest, base: RunRequest, deadline: timedelta, settings: Settings) -> Json:
    spec, git, warehouse = change.spec, _git(change), change.spec.warehouse.secret_ref.name
    folders = (api.PROJECT_CONTAINER, api.BASE_CONTAINER)
    volumes = scratch_volumes(spec, ("tmp", *folders, *(f"fetch-{each}" for each in folders)))
    volumes.append({"name": "secret-0", "secret": all_keys(warehouse)})
    repository = _repository_mounts(git.secret_ref)
    if git.secret_ref:
        volumes.append(repository_volume(git.secret_ref.name))
    fetches: list[JsonValue] = [
        fetch_container(settings, spec, name, (f"fetch-{name}", name), list(repository), _fetch_environment(request, settings))
        for name, request in zip(folders, (change, base), strict=True)
    ]
    return {
        **restricted_pod(preview.object_name, spec, settings, deadline),
        "initContainers": fetches,
        "containers": [_runner(preview, change, warehouse, settings)],
        "volumes": [*volumes, *ca_volume(settings)],
    }


def _runner(preview: Preview, change: RunRequest, warehouse: str, settings: Settings) -> Json:
    """Return the container that compares. It cannot change the projects, and has no credentials of their repository.

    It alone has the preview's image: who may only create previews must not choose what runs with the credentials of the repository.
    """
    image = preview.spec.image if preview.spec else None
    spec = change.spec.model_copy(update={"image": image or change.spec.image})
    environment: list[JsonValue] = [
        literal(api.RUN_REQUEST_ENV, change.text),
        from_pod(api.RUN_ID_ENV, f"metadata.labels['{JOB_NAME_LABEL}']"),
        *([literal(each.name, each.value) for each in spec.pod_template.environment] if spec.pod_template else []),
        *network_environment(settings, spec.pod_template),
    ]
    places: list[JsonValue] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod
        secret_mount("secret-0", warehouse),
        {"name": api.PROJECT_CONTAINER, "mountPath": api.PROJECT_PATH, "readOnly": True},
        {"name": api.BASE_CONTAINER, "mountPath": api.BASE_PATH, "readOnly": True},
    ]
    return container(settings, spec, api.RUNNER_CONTAINER, "preview", environment, places)


def _fetch_environment(request: RunRequest, settings: Settings) -> list[JsonValue]:
    return fetch_environment(literal(api.RUN_REQUEST_ENV, request.text), _git(request), settings)


def _repository_mounts(secret: SecretRef | None) -> list[Json]:
    return [secret_mount(REPOSITORY, secret.name)] if secret else []


def _git(request: RunRequest) -> Git:
    project = request.spec.project
    if project is None or project.git is None:
        raise ValueError("the run request has no repository")
    return project.git


def _labels(preview: Preview, refresh: Refresh) -> Json:
    return {**labels(refresh), api.PREVIEW_LABEL: preview.metadata.name}


def _metadata(preview: Preview, refresh: Refresh) -> Json:
    return {
        "name": preview.object_name,
        "namespace": preview.metadata.namespace,
        "labels": _labels(preview, refresh),
        "ownerReferences": [owner(api.PREVIEW_KIND, preview.metadata)],
    }
