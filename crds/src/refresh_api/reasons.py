"""Reasons of conditions and events, besides those of runs. Programs may rely on them."""

from enum import StrEnum


class ReadyReason(StrEnum):
    """Reasons of the condition Ready, and of Stalled and Reconciling while they are True."""

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
    """Blocked: the CronJob is being deleted, and a finalizer keeps it, so that no runs start. It is recreated once it is gone."""
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    """Blocked: the warehouse's Secret, or a key in it, is missing."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """Stalled: `secrets.policy` of the operator's chart does not allow a Secret, which is not mounted. Recovers once it is allowed."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """Stalled: `runner.allowedImages` of the operator's chart does not allow `image`. Recovers once it is allowed."""
    PROJECT_NOT_ALLOWED = "ProjectNotAllowed"
    """Stalled: `projects.allowedUrls` or `allowedSources` of the operator's chart do not allow the project. Recovers once they do."""
    FORBIDDEN = "Forbidden"
    """Blocked: the operator lacks a permission."""


class SuspendedReason(StrEnum):
    """Reasons of the condition Suspended."""

    NOT_SUSPENDED = "NotSuspended"
    """Scheduled runs are active."""
    GLOBALLY_PAUSED = "GloballyPaused"
    """No runs start, not even requested ones: the operator's ConfigMap `…-pause` exists."""
    SUSPENDED = "Suspended"
    """`suspend` is true."""
    SUSPENDED_UNTIL = "SuspendedUntil"
    """`suspendUntil` is in the future."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """The refresh names a Secret that it may not use; see the condition Ready."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """The image of the refresh is not allowed; see the condition Ready."""
    PROJECT_NOT_ALLOWED = "ProjectNotAllowed"
    """The address of the dbt project is not allowed; see the condition Ready."""
    TOO_MANY_FAILURES = "TooManyFailures"
    """As many consecutive scheduled runs as `suspendAfterFailures` have failed."""


class RunningReason(StrEnum):
    """Reasons of the condition Running."""

    IDLE = "Idle"
    """No run is active."""
    STARTING = "Starting"
    """The run's pod has not started, or fetches its dbt project; the message says which."""
    WAITING = "Waiting"
    """The run waits for another one that holds the warehouse lock."""
    RUNNING = "Running"
    """The run is in progress; the message has the attempt."""
    RETRYING = "Retrying"
    """An attempt failed, and another one follows."""
    INTERRUPTED = "Interrupted"
    """An attempt was interrupted by SIGTERM; another one follows and does not count as a retry."""


class FreshReason(StrEnum):
    """Reasons of the condition DataFresh, which exists if `freshness` is set."""

    FRESH = "Fresh"
    """The last successful run ended within `freshness.maxStaleness`."""
    STALE = "Stale"
    """The last successful run ended longer ago."""
    NEVER_LOADED = "NeverLoaded"
    """No run has succeeded yet."""


class EventReason(StrEnum):
    """Reasons of events, besides those of the condition Ready, of which each change is also an event."""

    RUN_STARTED = "RunStarted"
    """The Job of a run was created."""
    RUN_SUCCEEDED = "RunSucceeded"
    """A run succeeded."""
    RUN_SUCCEEDED_WITH_WARNINGS = "RunSucceededWithWarnings"
    """A run succeeded with a warning."""
    RUN_FAILED = "RunFailed"
    """A run failed; the message has the reason."""
    RUN_SKIPPED = "RunSkipped"
    """A run was skipped."""
    RUN_CANCELLED = "RunCancelled"
    """A run was cancelled by the annotation `cancel`."""
    RUN_MISSED = "RunMissed"
    """No run started at a scheduled time."""
    REQUEST_REFUSED = "RequestRefused"
    """A request started no run; the message says why."""
    PROJECT_CHANGED = "ProjectChanged"
    """A check has found a new commit of the project, and a run was requested (`project.onProjectChange`)."""
    PROJECT_CHECK_FAILED = "ProjectCheckFailed"
    """A check for a new commit of the project failed; the message says why. The next one follows after `project.interval`."""
    NOTHING_TO_CANCEL = "NothingToCancel"
    """The annotation `cancel` names no active run."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """The refresh names a Secret that it may not use; see the condition Ready."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """The image of the refresh is not allowed; see the condition Ready."""
    PROJECT_NOT_ALLOWED = "ProjectNotAllowed"
    """The address of the dbt project is not allowed; see the condition Ready."""
    TOO_MANY_FAILURES = "TooManyFailures"
    """Scheduled runs are suspended, since as many consecutive ones as `suspendAfterFailures` have failed."""
    DATA_STALE = "DataStale"
    """The data are older than `freshness` allows."""
    DATA_FRESH = "DataFresh"
    """The data are fresh again."""
    DRIFT_CORRECTED = "DriftCorrected"
    """Somebody changed or deleted a managed object, and the operator restored it."""
    DEFAULTS_CHANGED = "DefaultsChanged"
    """A managed object was updated because defaults of the operator or its chart changed; the refresh itself did not."""
    OTHER_OPERATOR = "OtherOperator"
    """Another operator manages this namespace; the message names it."""
    NOTIFICATION_FAILED = "NotificationFailed"
    """A channel did not accept the notification of a run."""
