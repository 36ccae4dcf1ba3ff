"""The pod of a run: its run request, Secrets, resources and security settings; pure.

Defaults of the API server are written out, so that any other value in an object means that somebody has edited it.
"""

from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_api.placement import Affinity, Toleration
from refresh_api.pod_template import PodTemplate
from refresh_api.project import Git, SourceRef
from refresh_api.resources import Resources
from refresh_api.spec import RefreshSpec
from refresh_api.values import quantity
from refresh_operator.names import rbac_name
from refresh_operator.settings import Settings
from refresh_operator.state.kube_types import JOB_NAME_LABEL
from refresh_operator.state.refresh import NO_PARAMETERS, Refresh, RunParameters

DISK_REQUEST: Final = "256Mi"
"""Default request for local storage."""
NEVER_READY: Final = f"{api.GROUP}/serves"
"""A readiness gate that is never set."""
CA_PATH: Final = "/etc/refresh-ca"
PROJECT: Final = "project"
"""Volume with the project that was fetched."""
FETCH: Final = "fetch"
"""Volume for the temporary files of the container that fetches the project; they hold its credentials."""
REPOSITORY: Final = "repository"
"""Volume with the Secret of the project's repository."""
RUNNER_UID: Final = 65532
NO_SECRETS: Final[frozenset[str]] = frozenset()
"""No Secrets are withheld."""


def pod_spec(
    refresh: Refresh,
    spec: RefreshSpec,
    settings: Settings,
    attempt: timedelta,
    parameters: RunParameters = NO_PARAMETERS,
    withheld: frozenset[str] = NO_SECRETS,
) -> Json:
    """Return the spec of a run's pod: restricted, with its run request, all Secrets except `withheld`, and `attempt` as deadline."""
    account = rbac_name(refresh.metadata.name)
    origin = settings.origin_of(spec.project)
    secrets = {name: source for name, source in _secrets(spec).items() if name not in withheld}
    mounts = {name: secret_mount(f"secret-{number}", name) for number, name in enumerate(secrets)}
    volumes = scratch_volumes(spec, ("tmp", PROJECT, FETCH) if origin else ("tmp",))
    volumes += [{"name": f"secret-{number}", "secret": source} for number, source in enumerate(secrets.values())]
    repository = _repository_secret(spec, origin, withheld)
    run_request = literal(api.RUN_REQUEST_ENV, refresh.run_request(spec, parameters).text)
    if repository:
        volumes.append(repository_volume(repository))
    pod = restricted_pod(account, spec, settings, attempt, withheld)
    pod |= {
        "containers": [_runner(settings, spec, list(mounts.values()), _environment(run_request, spec, settings))],
        "volumes": [*volumes, *ca_volume(settings)],
    }
    if origin:
        # the run log has the commit that an earlier attempt used
        needed = [mount for name, mount in mounts.items() if name == spec.warehouse.secret_ref.name]
        needed += [secret_mount(REPOSITORY, repository)] if repository else []
        environment = fetch_environment(run_request, origin, settings)
        pod["initContainers"] = [fetch_container(settings, spec, api.PROJECT_CONTAINER, (FETCH, PROJECT), needed, environment)]
    return pod


def restricted_pod(account: str, spec: RefreshSpec, settings: Settings, deadline: timedelta, withheld: frozenset[str] = NO_SECRETS) -> Json:
    """Return what the pods of runs and previews have in common: all but their containers and volumes."""
    pod: Json = {
        "serviceAccountName": account,
        "serviceAccount": account,
        # in a namespace with many Services, their variables can exceed the size limit for a process's environment
        "enableServiceLinks": False,
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": int(deadline.total_seconds()),
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        # never ready, so that no Service routes traffic to it, whatever its labels are
        "readinessGates": [{"conditionType": NEVER_READY}],
        "schedulerName": "default-scheduler",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUNNER_UID,
            "runAsGroup": RUNNER_UID,
            "fsGroup": RUNNER_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pull = [*settings.image_pull_secrets, *([each.name for each in spec.pod_template.spec.image_pull_secrets] if spec.pod_template else [])]
    if pull:
        pod["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(pull) if name not in withheld]
    return {**pod, **_placement(spec.pod_template)}


def pod_metadata(labels: Json, spec: RefreshSpec, container: str = api.RUNNER_CONTAINER) -> Json:
    """Return the metadata of a pod whose main container is `container`.

    Labels and annotations of the pod template cannot override the operator's own.
    """
    added = spec.pod_template
    annotations: Json = {"kubectl.kubernetes.io/default-container": container}
    if added is None:
        return {"labels": labels, "annotations": annotations}
    return {"labels": {**added.metadata.labels, **labels}, "annotations": {**added.metadata.annotations, **annotations}}


def _placement(template: PodTemplate | None) -> Json:
    """Return the scheduling fields of the pod template."""
    if template is None:
        return {}
    fields: Json = {
        "nodeSelector": dict(template.spec.node_selector),
        "tolerations": [_written(each) for each in template.spec.tolerations],
        "affinity": _written(template.spec.affinity) if template.spec.affinity else None,
        "priorityClassName": template.spec.priority_class_name,
    }
    return {key: value for key, value in fields.items() if value}


def _written(part: Toleration | Affinity) -> Json:
    """Return a part of the template without its empty fields, as the API server stores it."""
    return part.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def secret_mount(volume: str, secret: str) -> Json:
    """Return where a container has a Secret."""
    return {"name": volume, "mountPath": f"{api.SECRETS_PATH}/{secret}", "readOnly": True}


def _runner(settings: Settings, spec: RefreshSpec, secrets: list[Json], environment: list[JsonValue]) -> Json:
    """Return the container of the run. It has no credentials for the project's repository, and cannot change the project."""
    project: list[JsonValue] = (
        [{"name": PROJECT, "mountPath": api.PROJECT_PATH, "readOnly": True}] if settings.origin_of(spec.project) else []
    )
    # /tmp is a volume of this pod
    places: list[JsonValue] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    return container(settings, spec, api.RUNNER_CONTAINER, "run", environment, [*places, *secrets, *project])


def fetch_container(
    settings: Settings, spec: RefreshSpec, name: str, volumes: tuple[str, str], secrets: list[Json], environment: list[JsonValue]
) -> Json:
    """Return an init container that fetches a project into the second of these volumes; the first is for its temporary files."""
    temporary, project = volumes
    places: list[JsonValue] = [{"name": temporary, "mountPath": "/tmp"}, {"name": project, "mountPath": api.PROJECT_PATH}]  # noqa: S108
    return container(settings, spec, name, "fetch", environment, [*places, *secrets])


def scratch_volumes(spec: RefreshSpec, names: tuple[str, ...]) -> list[JsonValue]:
    """Return empty folders of limited size."""
    limit = spec.resources.limits.ephemeral_storage
    return [{"name": name, "emptyDir": {"sizeLimit": limit} if limit else {}} for name in names]


def repository_volume(secret: str) -> Json:
    """Return the volume with the Secret of the project's repository."""
    return {"name": REPOSITORY, "secret": {**all_keys(secret), "optional": True}}


def container(
    settings: Settings, spec: RefreshSpec, name: str, command: str, environment: list[JsonValue], mounts: list[JsonValue]
) -> Json:
    """Return a container of a run or a preview, with the security settings of all of them."""
    if settings.ca_bundle:
        mounts.append({"name": "ca", "mountPath": CA_PATH, "readOnly": True})
    return {
        "name": name,
        "image": settings.image_of(spec.image),
        "imagePullPolicy": settings.image_pull_policy,
        "args": [command],
        "env": environment,
        "resources": _resources(spec.resources),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": api.TERMINATION_LOG_PATH,
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def ca_volume(settings: Settings) -> list[JsonValue]:
    """Return the volume with the chart's certificates, if it has any."""
    if settings.ca_bundle is None:
        return []
    key = settings.ca_bundle.key
    source: Json = {"name": settings.ca_bundle.config_map, "items": [{"key": key, "path": key}], "defaultMode": 0o444}
    return [{"name": "ca", "configMap": source}]


def network_environment(settings: Settings, template: PodTemplate | None) -> list[JsonValue]:
    """Return the chart's variables for proxies and certificates, without those that the pod template sets."""
    variables = [*settings.proxies, *([("SSL_CERT_FILE", f"{CA_PATH}/{settings.ca_bundle.key}")] if settings.ca_bundle else [])]
    own = _own_names(template)
    return [literal(name, value) for name, value in variables if name not in own]


def _own_names(template: PodTemplate | None) -> set[str]:
    """Return the names of the variables that the pod template sets."""
    return {each.name for each in template.environment} if template else set()


def _resources(resources: Resources) -> Json:
    fields: Json = {
        "requests": resources.requests.model_dump(mode="json", by_alias=True, exclude_none=True),
        "limits": resources.limits.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    disk = resources.limits.ephemeral_storage
    if disk and not resources.requests.ephemeral_storage and isinstance(requests := fields["requests"], dict):
        # without a request, Kubernetes would request the whole limit, which few nodes have free
        requests["ephemeral-storage"] = min(DISK_REQUEST, disk, key=quantity)
    # empty fields are left out, as the API server stores them
    return {key: value for key, value in fields.items() if value}


def _environment(run_request: Json, spec: RefreshSpec, settings: Settings) -> list[JsonValue]:
    environment: list[JsonValue] = [
        run_request,
        from_pod(api.RUN_ID_ENV, f"metadata.labels['{JOB_NAME_LABEL}']"),
        from_pod(api.RUN_FAILURES_ENV, "metadata.annotations['batch.kubernetes.io/job-index-failure-count']"),
        from_pod(api.POD_NAME_ENV, "metadata.name"),
    ]
    if spec.cache:
        environment.append(literal(api.API_BASE_URL_ENV, spec.cache.base_url))
    if spec.pod_template:
        environment += [literal(each.name, each.value) for each in spec.pod_template.environment]
    environment += network_environment(settings, spec.pod_template)
    if settings.otlp_endpoint and api.OTLP_ENDPOINT_ENV not in _own_names(spec.pod_template):
        environment.append(literal(api.OTLP_ENDPOINT_ENV, settings.otlp_endpoint))
    if settings.allow_http:
        environment.append(literal(api.WEBHOOK_ALLOW_HTTP_ENV, "true"))
    if settings.notifies and any(each.combines for each in spec.notifications):
        environment.append(literal(api.COMBINES_ENV, "true"))
    if settings.run_url_template:
        environment.append(literal(api.RUN_URL_TEMPLATE_ENV, settings.run_url_template))
    return environment


def fetch_environment(run_request: Json, origin: Git | SourceRef, settings: Settings) -> list[JsonValue]:
    """Return the variables of the container that fetches the project: none of the pod template.

    With their own proxy and certificate, users could replace the code of an allowed repository by that of another server.
    """
    return [
        run_request,
        from_pod(api.RUN_ID_ENV, f"metadata.labels['{JOB_NAME_LABEL}']"),
        literal(api.PROJECT_URL_ENV, origin.url),
        *([literal(api.ALLOWED_URLS_ENV, " ".join(settings.code_rules.urls))] if settings.code_rules.urls else []),
        *([literal(api.PACKAGE_HUB_ENV, settings.package_hub)] if settings.package_hub else []),
        *network_environment(settings, None),
    ]


def literal(name: str, value: str) -> Json:
    """Return a variable with exactly this value. Kubernetes expands $(…) and replaces $$ with $."""
    # an empty value is left out, as the API server stores it
    return {"name": name, "value": value.replace("$", "$$")} if value else {"name": name}


def from_pod(name: str, path: str) -> Json:
    """Return a variable with a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _secrets(spec: RefreshSpec) -> dict[str, Json]:
    """Return the volume source of each Secret of a run, by name. Only the warehouse's Secret is required for a pod to start."""
    required = spec.warehouse.secret_ref.name
    sources: dict[str, Json] = {}
    for name, wanted in spec.run_secret_keys.items():
        source = all_keys(name)
        if wanted is not None:
            source["items"] = [{"key": key, "path": key} for key in sorted(wanted)]
        if name != required:
            source["optional"] = True
        sources[name] = source
    return sources


def _repository_secret(spec: RefreshSpec, origin: Git | SourceRef | None, withheld: frozenset[str]) -> str | None:
    """Return the Secret of the project's repository; None if there is none or it is already mounted as the warehouse's Secret.

    It has its own volume, because the run may read a single key of the same Secret.
    """
    name = origin.secret_ref.name if origin and origin.secret_ref else None
    return None if name in (*withheld, spec.warehouse.secret_ref.name) else name


def all_keys(secret: str) -> Json:
    """Return the volume source of a whole Secret."""
    return {"secretName": secret, "defaultMode": 0o440}
