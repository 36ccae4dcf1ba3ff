"""Names that operator and runner share: group, kind, annotations, environment variables and paths."""

from hashlib import sha256
from typing import Final

GROUP: Final = "dashboards.sigeti.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "DashboardRefresh"
PLURAL: Final = "dashboardrefreshes"
SINGULAR: Final = "dashboardrefresh"
SHORT_NAMES: Final = ("dr",)
PREVIEW_KIND: Final = "RefreshPreview"
PREVIEW_PLURAL: Final = "refreshpreviews"
PREVIEW_SINGULAR: Final = "refreshpreview"
PREVIEW_SHORT_NAMES: Final = ("rp",)

NAME_MAX_LENGTH: Final = 52
"""Maximum length of a refresh's name: the limit of a CronJob's name, which leaves room for the suffix of its Jobs."""

# Set by users on a refresh.
REQUESTED_AT: Final = f"{GROUP}/requestedAt"
"""Annotation that requests one run now; each new value is a new request."""
RUN_MODE: Final = f"{GROUP}/runMode"
"""Annotation with the mode of the requested run; read together with REQUESTED_AT."""
RUN_VARS: Final = f"{GROUP}/runVars"
"""Annotation with dbt variables for the requested run only, as a JSON object; read together with REQUESTED_AT."""
RUN_VARS_LENGTH: Final = 1024
"""Maximum length of RUN_VARS, in characters."""
TOKEN_LENGTH: Final = 256
"""Maximum length of REQUESTED_AT, CANCEL and RESET_AT, in characters; a longer request is refused."""
CANCEL: Final = f"{GROUP}/cancel"
"""Annotation that cancels one run, by its id or its request (REQUESTED_AT); also cancels a queued request."""
RESET_AT: Final = f"{GROUP}/resetAt"
"""Annotation that resumes scheduled runs after suspendAfterFailures; each new value resets the count of failures."""

# Set by the operator on managed objects.
REFRESH_LABEL: Final = f"{GROUP}/refresh"
"""Label with the refresh's name on its CronJob, Jobs, pods and permissions."""
PREVIEW_LABEL: Final = f"{GROUP}/preview"
"""Label with the preview's name on its Job, pod and permissions, which have REFRESH_LABEL, too."""
CHECK_LABEL: Final = f"{GROUP}/check"
"""Label on a Job that checks a refresh for a new commit of its project; always `project`."""
PROJECT_ANNOTATION: Final = f"{GROUP}/project"
"""Annotation on a Job: the revision of the project whose discovery it was created for."""
REQUEST_ANNOTATION: Final = f"{GROUP}/request"
"""Annotation on a Job: the request (REQUESTED_AT) that it was created for."""
GENERATION_ANNOTATION: Final = f"{GROUP}/generation"
"""Annotation on a Job: the generation of the refresh that its run request was made from."""
UID_ANNOTATION: Final = f"{GROUP}/uid"
"""Annotation on a Job: the uid of its refresh; distinguishes the runs of a deleted refresh from those of a later one of the same name."""

# Field managers of server-side apply: the two writers of a refresh's status.
OPERATOR_FIELD_MANAGER: Final = "refresh-operator"
RUNNER_FIELD_MANAGER: Final = "refresh-runner"

# Set by the operator in a run's pod, and read by the runner.
RUN_REQUEST_ENV: Final = "REFRESH_RUN_REQUEST"
"""The RunRequest as JSON."""
RUN_REQUEST_LENGTH: Final = 128 * 1024 - len(RUN_REQUEST_ENV) - 2
"""Maximum size in bytes: Linux limits a variable, with its name, an = and a NUL, to MAX_ARG_STRLEN."""
RUN_ID_ENV: Final = "RUN_ID"
"""The Job's name."""
RUN_FAILURES_ENV: Final = "RUN_FAILURES"
"""Number of failed attempts of this run (the pod's annotation batch.kubernetes.io/job-index-failure-count)."""
POD_NAME_ENV: Final = "POD_NAME"
RUN_URL_TEMPLATE_ENV: Final = "RUN_URL_TEMPLATE"
"""Template of the link to a run in notifications, with {namespace}, {name} and {run}."""
COMBINES_ENV: Final = "REFRESH_COMBINES_NOTIFICATIONS"
"""`true`: the operator notifies chats and mail of failures that other refreshes may share, if it has seen the run."""
ALLOW_LABEL: Final = f"{GROUP}/allow"
"""Label of a Secret; `true`: refreshes may use it, if the operator's policy requires the label."""
WEBHOOK_ALLOW_HTTP_ENV: Final = "WEBHOOK_ALLOW_HTTP"
"""`true`: webhooks may be called over plain HTTP."""
OTLP_ENDPOINT_ENV: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""OpenTelemetry's variable with the address of the collector."""
API_BASE_URL_ENV: Final = "API_BASE_URL"
WAREHOUSE_KEYS: Final = ("host", "dbname", "user", "password")
"""Required keys of a warehouse's Secret."""
SECRETS_PATH: Final = "/run/refresh/secrets"
"""Directory in the pod with one directory per Secret and one file per key."""
TERMINATION_LOG_PATH: Final = "/dev/termination-log"
RUNNER_CONTAINER: Final = "runner"
"""Name of the container that executes the run."""
PROJECT_PATH: Final = "/run/refresh/project"
"""Directory in the pod with the dbt project that an init container has fetched."""
BASE_PATH: Final = "/run/refresh/base"
"""Directory in a preview's pod with the project of the commit that is live, which another init container has fetched."""
BASE_CONTAINER: Final = "base"
"""Name of that init container."""
ALLOWED_URLS_ENV: Final = "PROJECT_ALLOWED_URLS"
"""Patterns of the addresses from which packages of a project may be downloaded, separated by spaces."""
PACKAGE_HUB_ENV: Final = "DBT_PACKAGE_HUB_URL"
"""Address of the hub of dbt packages, as dbt itself reads it."""
PROJECT_CONTAINER: Final = "project"
"""Name of the init container that fetches the project."""
PROJECT_URL_ENV: Final = "REFRESH_PROJECT_URL"
"""Address that the init container may fetch from. It is also in the run request; an admission policy can read it here."""


def preview_id(uid: str) -> str:
    """Return eight hexadecimal digits for the uid of a preview, with which the names of its Job and its schemas end."""
    return sha256(uid.encode()).hexdigest()[:8]
