"""The objects that should be: CronJob and permissions of a refresh, the Job that answers a request; pure.

What the API server would fill in by default is written out, so that anything else found in an object is a change by somebody.
"""

import json
from datetime import timedelta
from hashlib import sha256
from typing import Final

from pydantic import JsonValue

from refresh_api import names as api
from refresh_api.order import ExitCode, Order, RefreshRef
from refresh_api.spec import RefreshSpec
from refresh_api.values import duration
from refresh_operator.names import cronjob_name, permissions_name, token_job_name
from refresh_operator.settings import Settings
from refresh_operator.world import JOB_NAME_LABEL, Json, Metadata, Refresh

STARTING_DEADLINE: Final = timedelta(minutes=5)
"""A slot that could not start is made up for within this time. Always set: a CronJob without it stops for good after 100 missed slots."""
HISTORY_LIMIT: Final = 5
"""Finished Jobs of each kind that the CronJob keeps."""
REPORT_TIME: Final = timedelta(seconds=60)
"""What a pod may last beyond the runner's own deadline, so that the runner can report."""
BACK_OFF: Final = timedelta(minutes=6)
"""Longest pause before another attempt that the Job controller makes."""
RUNNER_UID: Final = 65532


HASH_ANNOTATION: Final = f"{api.GROUP}/desired"
"""Annotation on what the operator keeps: a hash of what it should be. It tells a change by hand from a change of what is wanted."""


def kept_objects(refresh: Refresh, spec: RefreshSpec, settings: Settings) -> tuple[Json, ...]:
    """All objects that are kept equal to a refresh, in the order in which they are made."""
    return (*permissions(refresh), cronjob(refresh, spec, settings))


def cronjob(refresh: Refresh, spec: RefreshSpec, settings: Settings) -> Json:
    """The CronJob that starts a refresh's runs."""
    body: Json = {
        "schedule": spec.schedule,
        "timeZone": spec.time_zone,
        "suspend": spec.suspend,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": _seconds(STARTING_DEADLINE),
        "successfulJobsHistoryLimit": HISTORY_LIMIT,
        "failedJobsHistoryLimit": HISTORY_LIMIT,
        "jobTemplate": {
            "metadata": {"labels": _labels(refresh), "annotations": _run_annotations(refresh)},
            "spec": _job(refresh, spec, settings),
        },
    }
    return _kept(refresh, "batch/v1", "CronJob", cronjob_name(refresh.metadata.name), {"spec": body})


def permissions(refresh: Refresh) -> tuple[Json, Json, Json]:
    """The ServiceAccount, Role and RoleBinding of a refresh's pods: they may write its own status, and nothing else."""
    name = permissions_name(refresh.metadata.name)
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


def token_job(refresh: Refresh, spec: RefreshSpec, settings: Settings, cronjob_seen: Metadata, token: str) -> Json:
    """The Job that answers one request.

    It belongs to the CronJob, which keeps its history, and to the refresh, so that it outlives the CronJob.
    """
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
            "name": token_job_name(refresh.metadata.name, refresh.metadata.uid, token),
            "namespace": refresh.metadata.namespace,
            "labels": _labels(refresh),
            "annotations": {**_run_annotations(refresh), api.TOKEN_ANNOTATION: token},
            "ownerReferences": [controller, {**_owner(refresh), "controller": False}],
        },
        "spec": _job(refresh, spec, settings),
    }


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


def _job(refresh: Refresh, spec: RefreshSpec, settings: Settings) -> Json:
    attempt = duration(spec.timeout) + REPORT_TIME
    whole = (spec.retries + 1) * attempt + duration(spec.start_timeout) + spec.retries * BACK_OFF
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
            "metadata": {"labels": _labels(refresh), "annotations": {"kubectl.kubernetes.io/default-container": "runner"}},
            "spec": _pod(refresh, spec, settings, attempt),
        },
    }


def _on_exit(action: str, *codes: ExitCode) -> Json:
    values: list[JsonValue] = [int(code) for code in codes]
    return {"action": action, "onExitCodes": {"containerName": "runner", "operator": "In", "values": values}}


def _pod(refresh: Refresh, spec: RefreshSpec, settings: Settings, attempt: timedelta) -> Json:
    account = permissions_name(refresh.metadata.name)
    secrets = _secrets(spec)
    volumes: list[JsonValue] = [{"name": f"secret-{number}", "secret": source} for number, source in enumerate(secrets.values())]
    scratch: Json = {"sizeLimit": spec.resources.limits.ephemeral_storage} if spec.resources.limits.ephemeral_storage else {}
    pod: Json = {
        "serviceAccountName": account,
        "serviceAccount": account,
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _seconds(attempt),
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUNNER_UID,
            "runAsGroup": RUNNER_UID,
            "fsGroup": RUNNER_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(refresh, spec, settings, list(secrets))],
        "volumes": [{"name": "tmp", "emptyDir": scratch}, *volumes],
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return pod


def _container(refresh: Refresh, spec: RefreshSpec, settings: Settings, secrets: list[str]) -> Json:
    mounts: list[JsonValue] = [
        {"name": f"secret-{number}", "mountPath": f"{api.SECRETS_PATH}/{name}", "readOnly": True} for number, name in enumerate(secrets)
    ]
    return {
        "name": "runner",
        "image": settings.runner_image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["run"],
        "env": _environment(refresh, spec, settings),
        "resources": spec.resources.model_dump(mode="json", by_alias=True, exclude_none=True),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": api.TERMINATION_LOG_PATH,
        "terminationMessagePolicy": "File",
        # /tmp is the pod's own
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108
    }


def _environment(refresh: Refresh, spec: RefreshSpec, settings: Settings) -> list[JsonValue]:
    meta = refresh.metadata
    order = Order(refresh=RefreshRef(name=meta.name, namespace=meta.namespace, uid=meta.uid), generation=meta.generation, spec=spec)
    environment: list[JsonValue] = [
        _literal(api.ORDER_ENV, order.model_dump_json(by_alias=True)),
        _from_pod(api.RUN_ID_ENV, f"metadata.labels['{JOB_NAME_LABEL}']"),
        _from_pod(api.RUN_FAILURES_ENV, "metadata.annotations['batch.kubernetes.io/job-index-failure-count']"),
        _from_pod(api.POD_NAME_ENV, "metadata.name"),
        _from_pod("POD_NAMESPACE", "metadata.namespace"),
    ]
    if spec.cache:
        environment.append(_literal(api.API_BASE_URL_ENV, spec.cache.base_url))
    if settings.run_url_template:
        environment.append(_literal(api.RUN_URL_TEMPLATE_ENV, settings.run_url_template))
    return environment


def _literal(name: str, value: str) -> Json:
    """A variable with just this value: Kubernetes would replace $(…) in it, and reads $$ as $."""
    return {"name": name, "value": value.replace("$", "$$")}


def _from_pod(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _secrets(spec: RefreshSpec) -> dict[str, Json]:
    """The volume source of each Secret, by its name. Without the warehouse's no run can start; any other may be missing."""
    needed = spec.warehouse.secret_ref.name
    keys: dict[str, set[str] | None] = {needed: None}
    for notification in spec.notifications:
        if notification.email:
            keys[notification.email.smtp_secret_ref.name] = None
        if notification.slack:
            ref = notification.slack.webhook_secret_ref
            known = keys.get(ref.name, set())
            keys[ref.name] = None if known is None else known | {ref.key}
    sources: dict[str, Json] = {}
    for name, wanted in keys.items():
        source: Json = {"secretName": name, "defaultMode": 0o440}
        if wanted is not None:
            source["items"] = [{"key": key, "path": key} for key in sorted(wanted)]
        if name != needed:
            source["optional"] = True
        sources[name] = source
    return sources


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())
