"""The words that both sides of the contract use: group, kind, annotations, environment and paths."""

from typing import Final

GROUP: Final = "dashboards.sigeti.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "DashboardRefresh"
PLURAL: Final = "dashboardrefreshes"
SINGULAR: Final = "dashboardrefresh"
SHORT_NAMES: Final = ("dr",)

NAME_MAX_LENGTH: Final = 52
"""Characters in a refresh's name: a CronJob's limit, which leaves room for the suffix of its Jobs."""

# On the refresh, by its users.
REQUESTED_AT: Final = f"{GROUP}/requestedAt"
"""Annotation that asks for one run now: any new value is a new request."""
RUN_MODE: Final = f"{GROUP}/runMode"
"""Annotation that says what the requested run does, other than a plain refresh; read together with REQUESTED_AT."""
RUN_VARS: Final = f"{GROUP}/runVars"
"""Annotation with dbt variables for the requested run alone, a JSON object; read together with REQUESTED_AT."""
RUN_VARS_LENGTH: Final = 1024
"""Characters in it."""
TOKEN_LENGTH: Final = 256
"""Characters in REQUESTED_AT, CANCEL and RESET_AT that are kept; a longer request is refused."""
CANCEL: Final = f"{GROUP}/cancel"
"""Annotation that ends one run: its id, or the request (REQUESTED_AT) that it answers; also takes back a request that still waits."""
RESET_AT: Final = f"{GROUP}/resetAt"
"""Annotation that lets scheduled runs go on after suspendAfterFailures: any new value resets the count of failures."""

# On what belongs to a refresh, by the operator.
REFRESH_LABEL: Final = f"{GROUP}/refresh"
"""Label with the refresh's name on its CronJob, Jobs, pods and permissions."""
REQUEST_ANNOTATION: Final = f"{GROUP}/request"
"""Annotation on a Job: the request (REQUESTED_AT) that it answers."""
GENERATION_ANNOTATION: Final = f"{GROUP}/generation"
"""Annotation on a Job: the generation of the refresh that its run request was made from."""
UID_ANNOTATION: Final = f"{GROUP}/uid"
"""Annotation on a Job: the uid of its refresh; distinguishes the runs of a deleted refresh from those of a later one of the same name."""

# The two writers of a refresh's status: server-side apply field managers.
OPERATOR_FIELD_MANAGER: Final = "refresh-operator"
RUNNER_FIELD_MANAGER: Final = "refresh-runner"

# What the operator puts into a run's pod, and the runner reads.
RUN_REQUEST_ENV: Final = "REFRESH_RUN_REQUEST"
"""The RunRequest as JSON."""
RUN_REQUEST_LENGTH: Final = 128 * 1024 - len(RUN_REQUEST_ENV) - 2
"""Bytes in it: Linux starts no process with a longer variable (MAX_ARG_STRLEN), its name, an = and a NUL included."""
RUN_ID_ENV: Final = "RUN_ID"
"""The Job's name."""
RUN_FAILURES_ENV: Final = "RUN_FAILURES"
"""How many attempts of this run failed before (the pod's annotation batch.kubernetes.io/job-index-failure-count)."""
POD_NAME_ENV: Final = "POD_NAME"
RUN_URL_TEMPLATE_ENV: Final = "RUN_URL_TEMPLATE"
"""Link to a run for notifications; {namespace}, {name} and {run} are filled in."""
ALLOW_LABEL: Final = f"{GROUP}/allow"
"""Label of a Secret; `true`: refreshes may use it, where the operator's policy asks for the label."""
WEBHOOK_ALLOW_HTTP_ENV: Final = "WEBHOOK_ALLOW_HTTP"
"""`true`: webhooks may be called by plain HTTP."""
API_BASE_URL_ENV: Final = "API_BASE_URL"
WAREHOUSE_KEYS: Final = ("host", "dbname", "user", "password")
"""Required keys of a warehouse's Secret."""
SECRETS_PATH: Final = "/run/refresh/secrets"
"""Folder in the pod with one folder per Secret and one file per key."""
TERMINATION_LOG_PATH: Final = "/dev/termination-log"
RUNNER_CONTAINER: Final = "runner"
"""Name of the container of the run."""
PROJECT_PATH: Final = "/run/refresh/project"
"""Folder in the pod with the dbt project that an init container has fetched."""
ALLOWED_URLS_ENV: Final = "PROJECT_ALLOWED_URLS"
"""Patterns of the addresses from which packages of a project may be downloaded, separated by spaces."""
PACKAGE_HUB_ENV: Final = "DBT_PACKAGE_HUB_URL"
"""Address of the hub of dbt packages, as dbt itself reads it."""
PROJECT_CONTAINER: Final = "project"
"""Name of that init container."""
PROJECT_URL_ENV: Final = "REFRESH_PROJECT_URL"
"""Address that the init container may fetch from: the same as in its run request, and readable by an admission policy."""
