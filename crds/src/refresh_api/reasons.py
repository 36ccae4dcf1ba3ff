"""The reasons of conditions and events, beside those of runs: what programs may rely on, with their meaning for people."""

from enum import StrEnum


class ReadyReason(StrEnum):
    """Why a refresh is ready, or is not: reasons of the condition Ready; of Stalled and Reconciling where they hold."""

    SCHEDULED = "Scheduled"
    """The CronJob is up to date."""
    SUSPENDED = "Suspended"
    """The CronJob is up to date and suspended: the condition Suspended says why."""
    INVALID_SCHEDULE = "InvalidSchedule"
    """Stalled: the schedule is invalid."""
    INVALID_TIME_ZONE = "InvalidTimeZone"
    """Stalled: the time zone does not exist."""
    INVALID_SPEC = "InvalidSpec"
    """Stalled: the spec is invalid, or Kubernetes rejects an object made from it."""
    UNREADABLE = "Unreadable"
    """The refresh, or an object of its run, cannot be parsed: nested too deeply, or too long. Stalled if it is the refresh itself."""
    OPERATOR_ERROR = "OperatorError"
    """Blocked: internal error of the operator with this refresh; see its log. Other refreshes are not affected."""
    CRON_JOB_CONFLICT = "CronJobConflict"
    """Stalled: an object of that name already exists and is not owned by this DashboardRefresh; it is left unchanged."""
    CRON_JOB_TERMINATING = "CronJobTerminating"
    """Blocked: somebody deleted the CronJob and a finalizer keeps it, where it starts nothing; it is made again once it is gone."""
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    """Blocked: the warehouse's Secret, or a key in it, is missing."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """Stalled: the operator's `secrets.policy` keeps a Secret from it, which is mounted nowhere; heals once it is allowed."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """Stalled: `runner.allowedImages` of the operator's chart does not have `image`; heals once it is allowed."""
    PROJECT_NOT_ALLOWED = "ProjectNotAllowed"
    """Stalled: `projects.allowedUrls` of the operator's chart does not have `project.git.url`; heals once it is allowed."""
    FORBIDDEN = "Forbidden"
    """Blocked: the operator lacks a permission."""


class SuspendedReason(StrEnum):
    """Why scheduled runs are off, or are not: reasons of the condition Suspended."""

    NOT_SUSPENDED = "NotSuspended"
    """Scheduled runs are active."""
    GLOBALLY_PAUSED = "GloballyPaused"
    """Nothing starts, requested runs neither: the operator's ConfigMap `…-pause` is there."""
    SUSPENDED = "Suspended"
    """`suspend` is true."""
    SUSPENDED_UNTIL = "SuspendedUntil"
    """`suspendUntil` is in the future."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """It names a Secret that it may not use: the condition Ready says which."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """Its image is not allowed: the condition Ready says which are."""
    PROJECT_NOT_ALLOWED = "ProjectNotAllowed"
    """The address of its dbt project is not allowed: the condition Ready says which are."""
    TOO_MANY_FAILURES = "TooManyFailures"
    """As many scheduled runs in a row have failed as `suspendAfterFailures` says."""


class RunningReason(StrEnum):
    """Reasons of the condition Running."""

    IDLE = "Idle"
    """No run is under way."""
    STARTING = "Starting"
    """Its pod has not started; the message says why."""
    WAITING = "Waiting"
    """Another run holds the warehouse."""
    RUNNING = "Running"
    """It runs; the message says which attempt."""
    RETRYING = "Retrying"
    """An attempt failed, another one follows."""
    INTERRUPTED = "Interrupted"
    """An attempt was interrupted by SIGTERM; another one follows and does not count as a retry."""


class FreshReason(StrEnum):
    """Reasons of the condition DataFresh, which is there where `freshness` is given."""

    FRESH = "Fresh"
    """The last successful run ended within `freshness.maxStaleness`."""
    STALE = "Stale"
    """It ended longer ago."""
    NEVER_LOADED = "NeverLoaded"
    """No run has succeeded yet."""


class EventReason(StrEnum):
    """Reasons of the events on a refresh, beside those of the condition Ready, of which each change is an event."""

    RUN_STARTED = "RunStarted"
    """A run has a Job."""
    RUN_SUCCEEDED = "RunSucceeded"
    """A run ended well."""
    RUN_SUCCEEDED_WITH_WARNINGS = "RunSucceededWithWarnings"
    """A run ended well, with something to look at."""
    RUN_FAILED = "RunFailed"
    """A run failed; the message has the reason."""
    RUN_SKIPPED = "RunSkipped"
    """A run was skipped."""
    RUN_CANCELLED = "RunCancelled"
    """A run was ended by the annotation `cancel`."""
    RUN_MISSED = "RunMissed"
    """No run started at a scheduled time."""
    REQUEST_REFUSED = "RequestRefused"
    """A request started no run; the message says why."""
    NOTHING_TO_CANCEL = "NothingToCancel"
    """No run has the id that was to end."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """It names a Secret that it may not use: the condition Ready says which."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """Its image is not allowed: the condition Ready says which are."""
    PROJECT_NOT_ALLOWED = "ProjectNotAllowed"
    """The address of its dbt project is not allowed: the condition Ready says which are."""
    TOO_MANY_FAILURES = "TooManyFailures"
    """Scheduled runs are off from now on, since as many in a row have failed as `suspendAfterFailures` says."""
    DATA_STALE = "DataStale"
    """The data have become older than `freshness` allows."""
    DATA_FRESH = "DataFresh"
    """They are young enough again."""
    DRIFT_CORRECTED = "DriftCorrected"
    """A managed object was changed or deleted; drift corrected."""
    DEFAULTS_CHANGED = "DefaultsChanged"
    """An object of ours follows new defaults of the operator or its chart: the refresh itself has not changed."""
    OTHER_OPERATOR = "OtherOperator"
    """An operator that also watches this namespace leaves the refresh to the one that the message names."""
    NOTIFICATION_FAILED = "NotificationFailed"
    """A channel did not take the message on a failed run."""
