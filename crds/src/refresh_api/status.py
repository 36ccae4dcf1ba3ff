"""What users read: the status of a DashboardRefresh, in two parts that do not overlap and have one writer each.

The runner writes `run`, and the operator everything else. Server-side apply removes fields that a field manager leaves out,
so each writer always sends its whole part.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, JsonValue, StringConstraints, WithJsonSchema

from refresh_api.model import Model, Time
from refresh_api.names import RUN_VARS_LENGTH
from refresh_api.run_request import PARTIAL, RunMode

HISTORY_LENGTH: Final = 10
MESSAGE_LENGTH: Final = 2000
"""Characters in a message; longer ones are cut by `clip`."""

Message = Annotated[str, WithJsonSchema({"type": "string", "maxLength": MESSAGE_LENGTH})]
"""A text of limited length for the API server. In the models it is complete: clipped before it is redacted, it may hold half a secret."""


def clip(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Return the text in at most `length` characters, with an ellipsis in place of what is cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


class Outcome(StrEnum):
    """The result of a run."""

    SUCCEEDED = "Succeeded"
    WARNED = "Warned"
    FAILED = "Failed"
    SKIPPED = "Skipped"


GOOD: Final = frozenset({Outcome.SUCCEEDED, Outcome.WARNED})
"""Outcomes of successful runs."""


class Reason(StrEnum):
    """Why a run ended as it did: reasons of the condition LastRunSucceeded, a stable contract."""

    SUCCEEDED = "Succeeded"
    """All steps succeeded."""
    NOTHING_CHANGED = "NothingChanged"
    """Nothing has changed since the last run, so the marts were left unchanged (`unchangedPolicy: Skip`)."""
    SUCCEEDED_WITH_WARNINGS = "SucceededWithWarnings"
    """New data are live, with a warning from a test, a mart, a source or an endpoint."""
    # Reported by the runner.
    INVALID_RUN_REQUEST = "InvalidRunRequest"
    """The runner cannot read its run request: operator and runner have different versions."""
    PROJECT_UNAVAILABLE = "ProjectUnavailable"
    """The dbt project could not be fetched from its repository; the message says why."""
    INVALID_PROJECT = "InvalidProject"
    """dbt cannot parse the project, or the project lacks something that the spec names."""
    LAYER_FAILED = "LayerFailed"
    """A model could not be built; the message has PostgreSQL's error."""
    DBT_FAILED = "DbtFailed"
    """A dbt command failed for another reason than a selected node, such as a warning that the project's `flags` turn into an error."""
    HOOK_FAILED = "HookFailed"
    """An `on-run-start` or `on-run-end` hook of the dbt project failed; the message says whether the new data are live."""
    SOURCES_STALE = "SourcesStale"
    """A source is older than the dbt project allows (`sources.stalePolicy` Fail: failed, Skip: skipped), or no source could be checked."""
    TESTS_FAILED = "TestsFailed"
    """A test failed, and `tests.failurePolicy` is Fail."""
    VALIDATION_FAILED = "ValidationFailed"
    """A mart has fewer rows than minRows, or does not exist."""
    PUBLISH_FAILED = "PublishFailed"
    """The marts could not be published; nothing was changed."""
    PUBLISHING_HELD = "PublishingHeld"
    """Skipped: publishing is on hold after a rollback, until a run with mode resume."""
    NOTIFICATIONS_TESTED = "NotificationsTested"
    """Skipped: the run only sent a test message through each channel; the message names those that did not accept it."""
    ROLLED_BACK = "RolledBack"
    """The previous version is live again."""
    WAREHOUSE_UNREACHABLE = "WarehouseUnreachable"
    """PostgreSQL cannot be reached, or the Secret is incomplete."""
    PRIVILEGE_MISSING = "PrivilegeMissing"
    """The warehouse's user lacks required privileges; the message lists them. Nothing was built."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The run exceeded `timeout`; the message names the step."""
    INTERRUPTED = "Interrupted"
    """Interrupted by SIGTERM, for example by a node drain; another attempt follows."""
    LOCK_HELD = "LockHeld"
    """Another run held the warehouse lock for longer than `lock.waitTimeout`: skipped, or failed with `policy: Fail`."""
    DEPENDENCY_STALE = "DependencyStale"
    """Skipped: a refresh in `dependsOn` has not succeeded within `within`."""
    CLOCK_CHANGE = "ClockChange"
    """Skipped: clocks went back, and the run of this scheduled time took place an hour earlier."""
    LOCK_LOST = "LockLost"
    """The connection that held the warehouse lock was lost; nothing was published afterwards."""
    RUNNER_ERROR = "RunnerError"
    """Internal error of the runner; see its log."""
    # Concluded by the operator, of runs that ended without a report.
    START_TIMEOUT = "StartTimeout"
    """The pod did not start within `startTimeout`."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The runner's image could not be pulled within `startTimeout`."""
    UNSCHEDULABLE = "Unschedulable"
    """No node had room for the pod within `startTimeout`."""
    OOM_KILLED = "OOMKilled"
    """The runner took more memory than `resources.limits.memory`."""
    EVICTED = "Evicted"
    """The pod was evicted, because the node was short of memory or disk."""
    JOB_DELETED = "JobDeleted"
    """The Job was deleted during the run."""
    RUNNER_LOST = "RunnerLost"
    """The runner was killed, or sent no heartbeat for three minutes."""
    CANCELLED = "Cancelled"
    """The run was cancelled by the annotation `cancel`."""


SHARED: Final = frozenset(
    {Reason.WAREHOUSE_UNREACHABLE, Reason.LOCK_LOST, Reason.PROJECT_UNAVAILABLE, Reason.IMAGE_PULL_FAILED, Reason.UNSCHEDULABLE}
)
"""Reasons for which other refreshes may fail at the same time: the warehouse, the project's server, a registry or the nodes are away."""


class RunPhase(StrEnum):
    """The phase of a run, as its runner reports it."""

    WAITING = "Waiting"
    """Another run holds the warehouse lock."""
    RUNNING = "Running"
    RETRYING = "Retrying"
    """This attempt failed; another one follows."""
    INTERRUPTED = "Interrupted"
    """This attempt was interrupted by SIGTERM; another one follows and does not count as a retry."""
    FINISHED = "Finished"


class StepState(StrEnum):
    """The state of a step."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    WARNED = "Warned"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class Verdict(StrEnum):
    """The result of validating one mart."""

    VALID = "VALID"
    WARNING = "WARNING"
    FAILED = "FAILED"


class Trigger(StrEnum):
    """What started a run."""

    SCHEDULED = "Scheduled"
    """By the schedule."""
    REQUESTED = "Requested"
    """By the annotation requestedAt."""
    PROJECT_CHANGE = "ProjectChange"
    """By a new commit of the project, with `project.onProjectChange: Run`."""
    MANUAL = "Manual"
    """By `kubectl create job --from=cronjob/…`."""
    LOCAL = "Local"
    """By the runner's command line."""


class MissedReason(StrEnum):
    """Why no run started at a scheduled time."""

    CONTROLLER_DOWN = "ControllerDown"
    """The CronJob controller created no Job within the starting deadline."""
    SUSPENDED = "Suspended"
    """Scheduled runs were suspended."""
    PREVIOUS_STILL_RUNNING = "PreviousStillRunning"
    """The previous run was still active."""
    CLOCK_CHANGE = "ClockChange"
    """Clocks went forward over this time."""


class NodeCounts(Model):
    """The models, or the tests, of a step, counted."""

    built: int = Field(default=0, ge=0, description="Models that were built, or tests that were run.")
    unchanged: int = Field(
        default=0, ge=0, description="Those of them that were built with the same rows as before, by unchangedPolicy: Reuse."
    )
    reused: int = Field(default=0, ge=0, description="Those whose earlier results were reused.")


class StepStatus(Model):
    """One step of a run."""

    name: str = Field(description="Name of the step: sources, a layer's, tests, validation or cache.")
    state: StepState = Field(default=StepState.PENDING, description="Pending, Running, Succeeded, Warned, Failed or Skipped.")
    tries: int = Field(default=0, ge=0, description="Number of tries in this attempt.")
    start_time: Time | None = Field(default=None, description="When the first try started.")
    duration: str | None = Field(default=None, description="Duration of all tries together.")
    message: Message | None = Field(default=None, description="What happened, which session it waits for, or why it was skipped.")
    nodes: NodeCounts | None = Field(default=None, description="Numbers of models or tests; unset in other steps, and until the step ends.")


class NullShare(Model):
    """The share of NULL in one key column."""

    column: str = Field(description="Name of the key column.")
    share: str = Field(description="Share of rows with NULL, as a percentage.")


class MartStatus(Model):
    """What the validation found in one mart."""

    relation: str = Field(description="Table as schema.name.")
    verdict: Verdict = Field(description="VALID, WARNING or FAILED.")
    rows: int | None = Field(default=None, ge=0, description="Number of rows; unset if the table could not be read.")
    null_shares: list[NullShare] = Field(default_factory=list, max_length=16, description="Share of NULL in each key column.")
    duplicates: int | None = Field(default=None, ge=0, description="Rows beyond the first of each `uniqueKey`; unset if not checked.")
    newest_date: str | None = Field(default=None, description="Date of the newest record; unset if not checked.")
    median_rows: int | None = Field(
        default=None, ge=0, description="Median number of rows of the last published runs; unset if not checked, or with too few runs."
    )
    message: Message | None = Field(default=None, description="Why the verdict is not VALID.")


class TestCounts(Model):
    """Results of the dbt tests, counted."""

    passed: int = Field(default=0, ge=0, description="Tests that passed.")
    warned: int = Field(default=0, ge=0, description="Tests that warned, by their severity.")
    failed: int = Field(default=0, ge=0, description="Tests that failed, or could not be run.")
    failures: list[str] = Field(default_factory=list, max_length=20, description="Names of the first failed tests.")


class EndpointStatus(Model):
    """The answer of one endpoint of the API."""

    path: str = Field(description="Path of the endpoint.")
    state: StepState = Field(description="Succeeded or Warned.")
    version: str | None = Field(
        default=None, max_length=256, description="Version of the data that it serves, by its own answer; unset if it names none."
    )
    message: Message | None = Field(default=None, description="The answer, if it was not 200.")


class NotificationStatus(Model):
    """Whether one channel could be notified."""

    channel: str = Field(description="Slack channel, recipients of the mail, or the kind of channel with its Secret.")
    sent: bool = Field(description="Whether the message was accepted.")
    message: Message | None = Field(default=None, description="Why the message was not accepted.")


class ProjectStatus(Model):
    """The dbt project that a run was built from."""

    url: str = Field(max_length=512, description="Address of the repository.")
    path: str = Field(max_length=255, description="Folder of the project in the repository.")
    revision: str = Field(max_length=320, description="Branch or tag and the commit, for example main@sha1:6e27e9a9….")
    message: Message | None = Field(default=None, description="What is noteworthy about the revision, such as a tag that was moved.")


class Run(Model):
    """A run as its runner reports it."""

    id: str = Field(description="Name of the run's Job.")
    generation: int = Field(ge=0, description="Generation of the refresh that the run was created from.")
    phase: RunPhase = Field(description="Waiting, Running, Retrying, Interrupted or Finished.")
    attempt: int = Field(ge=1, description="Number of this attempt.")
    attempts: int = Field(ge=1, description="Maximum number of attempts.")
    pod: str | None = Field(default=None, description="Pod of this attempt.")
    step: str | None = Field(default=None, description="Step in progress, for example 3/6 marts.")
    project: ProjectStatus | None = Field(
        default=None, description="The dbt project of this run; unset if it is the one in the image, or until it is fetched."
    )
    start_time: Time = Field(description="When this attempt started.")
    heartbeat_time: Time = Field(description="When the runner last reported.")
    completion_time: Time | None = Field(default=None, description="When the attempt ended.")
    outcome: Outcome | None = Field(default=None, description="How the run ended: Succeeded, Warned, Failed or Skipped.")
    reason: Reason | None = Field(default=None, description="Reason in one word.")
    message: Message | None = Field(default=None, description="Reason in a sentence.")
    marts: str | None = Field(default=None, description="Valid marts and all marts, for example 4/4.")
    steps: list[StepStatus] = Field(default_factory=list, max_length=24, description="The steps, in order.")
    validation: list[MartStatus] = Field(default_factory=list, max_length=64, description="Verdict on each mart.")
    tests: TestCounts | None = Field(default=None, description="Results of the dbt tests.")
    version: str | None = Field(
        default=None, description="Version of the data that this run made live: the run that built them. Unset if it made none live."
    )
    endpoints: list[EndpointStatus] = Field(default_factory=list, max_length=64, description="Answers of the API.")
    notifications: list[NotificationStatus] = Field(default_factory=list, max_length=10, description="Notifications that were sent.")
    left_to_operator: bool | None = Field(
        default=None,
        description="True if the operator notifies chats and mail of this run, together with other refreshes that fail for the same cause.",
    )

    @property
    def revision(self) -> str | None:
        """Revision of the dbt project that the run fetched; None if it fetched none."""
        return self.project.revision if self.project else None


class FinishedRun(Model):
    """A finished run."""

    id: str = Field(description="Name of the run's Job.")
    trigger: Trigger = Field(description="Scheduled, Requested (by annotation), ProjectChange or Manual (by kubectl create job).")
    generation: int | None = Field(default=None, ge=0, description="Generation of the refresh that the run was created from.")
    outcome: Outcome = Field(description="Succeeded, Warned, Failed or Skipped.")
    reason: Reason = Field(description="Reason in one word.")
    message: Message | None = Field(default=None, description="Reason in a sentence.")
    marts: str | None = Field(default=None, description="Valid marts and all marts, for example 4/4.")
    attempts: int = Field(default=1, ge=0, description="Number of attempts.")
    start_time: Time | None = Field(default=None, description="When the run started.")
    completion_time: Time = Field(description="When the run ended.")
    duration: str | None = Field(default=None, description="Duration of the run.")
    mode: str | None = Field(default=None, description="Mode of a requested run: the annotation runMode of its request.")
    vars: str | None = Field(
        default=None, max_length=RUN_VARS_LENGTH, description="dbt variables of a requested run: the annotation runVars of its request."
    )
    image: str | None = Field(default=None, max_length=512, description="Image of the run, with its digest; unset if no pod was left.")
    revision: str | None = Field(
        default=None, max_length=320, description="Revision of the dbt project that the run fetched, for example main@sha1:6e27e9a9…."
    )

    @property
    def loads(self) -> bool:
        """Whether the data are newer since this run: it succeeded, and its mode is not partial."""
        return self.outcome in GOOD and not self.is_partial

    @property
    def is_partial(self) -> bool:
        """Whether it ran only a part of the refresh, so that its success says nothing about the rest."""
        try:
            return bool(self.mode) and RunMode.parse(self.mode or "").kind in PARTIAL
        except ValueError:
            return False


class ActiveRun(Model):
    """An active run: its Job has not ended."""

    id: str = Field(description="Name of the run's Job.")
    trigger: Trigger = Field(description="Scheduled, Requested (by annotation), ProjectChange or Manual (by kubectl create job).")
    generation: int | None = Field(default=None, ge=0, description="Generation of the refresh that the run was created from.")
    start_time: Time = Field(description="When its Job was created.")
    mode: str | None = Field(default=None, description="Mode of a requested run: the annotation runMode of its request.")
    vars: str | None = Field(
        default=None, max_length=RUN_VARS_LENGTH, description="dbt variables of a requested run: the annotation runVars of its request."
    )


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """A condition, in the form that Kubernetes' own objects have."""

    type: str = Field(
        description="Ready, Reconciling, Stalled, Suspended, Running, LastRunSucceeded or DataFresh; of a preview, Complete or Failed."
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(min_length=1, max_length=64, description="Reason in one word.")
    message: Message = Field(default="", description="Reason in a sentence, and what to do.")
    last_transition_time: Time = Field(description="When the status last changed.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the object that the condition is about.")


class Phase(StrEnum):
    """The refresh in one word."""

    SCHEDULED = "Scheduled"
    """The next run starts by the schedule."""
    RUNNING = "Running"
    """A run is active."""
    SUSPENDED = "Suspended"
    """Scheduled runs are suspended; requested runs still start."""
    STALLED = "Stalled"
    """The spec must be changed."""
    BLOCKED = "Blocked"
    """Something outside the refresh is missing; the operator retries."""


CONDITION_LIST: Final[dict[str, JsonValue]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class ProjectCheck(Model):
    """What the last check for a new commit of the project has found."""

    observed_generation: int = Field(default=-1, description="Generation of the refresh that was checked.")
    last_check_time: Time | None = Field(default=None, description="When the last check ended.")
    revision: str | None = Field(default=None, max_length=320, description="Newest revision of the project that a check has seen.")
    error: Message | None = Field(default=None, description="Why the last check has seen no revision; unset if it has.")
    handled_revision: str | None = Field(
        default=None, max_length=320, description="Last revision for which a run was requested, or which a run used without a request."
    )


class SharedFailure(Model):
    """A failure whose cause other refreshes may share, or its end: chats and mail are notified of all these refreshes together."""

    cause: str = Field(
        max_length=600, description="What these refreshes have in common, for example: warehouse of Secret phase2-warehouse."
    )
    run: FinishedRun = Field(description="The run.")
    is_over: bool = Field(default=False, description="Whether the run has succeeded, after one that failed.")
    failing_since: Time | None = Field(default=None, description="When the first failed run ended, if this one has succeeded.")
    notified_time: Time | None = Field(default=None, description="When people were notified; unset until then.")


class Recovery(Model):
    """A run that succeeded after failed ones."""

    run: FinishedRun = Field(description="The run.")
    failing_since: Time = Field(description="When the first failed run ended.")


class OperatorStatus(Model):
    """The part of the status that the operator writes."""

    observed_generation: int = Field(default=-1, description="Generation that the operator last reconciled; -1 before the first.")
    phase: Phase | None = Field(default=None, description="Scheduled, Running, Suspended, Stalled or Blocked.")
    message: Message | None = Field(default=None, description="Summary of the refresh, and what to do.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=CONDITION_LIST,
        description="Ready, Reconciling and Stalled describe the configuration; Suspended, Running and LastRunSucceeded the runs; "
        "DataFresh the "
        "data, if spec.freshness is set.",
    )
    next_schedule_time: Time | None = Field(default=None, description="When the next scheduled run starts.")
    next: str | None = Field(default=None, description="nextScheduleTime in short form, in timeZone.")
    next_schedule_times: list[str] = Field(
        default_factory=list, max_length=3, description="When the next three scheduled runs start, in timeZone with its offset."
    )
    last_handled_request_at: str | None = Field(
        default=None, description="Last value of the annotation requestedAt that was handled: by a run, or by requestError."
    )
    request_error: Message | None = Field(default=None, description="Why the last request started no run; unset if it did.")
    last_handled_cancel: str | None = Field(default=None, description="Last value of the annotation cancel that was handled.")
    active: list[ActiveRun] = Field(default_factory=list, max_length=20, description="Active runs, oldest first.")
    last_run: FinishedRun | None = Field(default=None, description="The last finished run.")
    last_success_time: Time | None = Field(default=None, description="When the last successful run ended.")
    consecutive_failures: int = Field(default=0, ge=0, description="Failed runs since the last successful one.")
    scheduled_failures: int = Field(
        default=0, ge=0, description="Failed scheduled runs since the last successful run, or the last annotation resetAt."
    )
    failing_since: Time | None = Field(
        default=None, description="When the first failed run ended since the last complete run that succeeded; unset if none has failed."
    )
    shared_failure: SharedFailure | None = Field(
        default=None, description="The last failure whose cause other refreshes may share, or its end. Unset after a failure of its own."
    )
    last_failure: FinishedRun | None = Field(
        default=None, description="The last failed run since the last complete run that succeeded; unset if none has failed."
    )
    last_recovery: Recovery | None = Field(default=None, description="The last complete run that succeeded after failed ones.")
    quiet_hours_handled_until: Time | None = Field(
        default=None, description="Time up to which the end of quiet hours was notified; unset without quiet hours."
    )
    last_handled_reset_at: str | None = Field(default=None, description="Last value of the annotation resetAt that was handled.")
    suspended_since: Time | None = Field(default=None, description="Since when scheduled runs are suspended.")
    suspended_until: Time | None = Field(default=None, description="When scheduled runs resume by themselves; unset if they do not.")
    missed_runs_evaluated_until: Time | None = Field(
        default=None, description="Time up to which each scheduled time has a run or is counted in missedRuns."
    )
    missed_runs: int = Field(default=0, ge=0, description="Number of scheduled times at which no run started.")
    last_missed_time: Time | None = Field(default=None, description="The last scheduled time at which no run started.")
    last_missed_reason: MissedReason | None = Field(
        default=None, description="Why that run was missed: ControllerDown, Suspended, PreviousStillRunning or ClockChange."
    )
    missed_since: Time | None = Field(
        default=None,
        description="The first scheduled time at which no run started since the last scheduled run that did, unless runs were suspended or "
        "clocks went forward; unset if there is none.",
    )
    live_revision: str | None = Field(
        default=None,
        max_length=320,
        description="Revision of the dbt project that the last full run published, with which previews compare; unset without one, or "
        "after a rollback.",
    )
    project_check: ProjectCheck | None = Field(
        default=None, description="Checks for new commits of the project; unset unless spec.project.onProjectChange is Run."
    )
    history: list[FinishedRun] = Field(default_factory=list, max_length=HISTORY_LENGTH, description="The last finished runs, newest first.")

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type, or None."""
        return next((each for each in self.conditions if each.type == kind), None)


class RunnerStatus(Model):
    """The part of the status that the runner writes."""

    run: Run | None = Field(default=None, description="The current run, or else the last one, as its runner reports it.")


class RefreshStatus(OperatorStatus, RunnerStatus):
    """The status of a DashboardRefresh."""


class TerminationMessage(Model):
    """The termination message of a runner's pod: its report, in case the status was not written."""

    id: str
    attempt: int
    phase: RunPhase
    outcome: Outcome | None = None
    reason: Reason | None = None
    message: Annotated[str, StringConstraints(max_length=1000)] | None = None
    marts: str | None = None
    step: str | None = None
    revision: str | None = None
    notified: bool = False
    left_to_operator: bool | None = None
    """Whether the operator notifies chats and mail; None for False, which operators of earlier versions do not know."""


class ProjectSeen(Model):
    """The termination message of a check for a new commit: exactly one of the fields is set."""

    revision: Annotated[str, StringConstraints(max_length=320)] | None = None
    error: Annotated[str, StringConstraints(max_length=1000)] | None = None
