"""The result of a finished run: from the runner's report if there is one, else from the state of its pods and Job; pure."""

from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from refresh_api.status import Outcome, Reason, Run, RunPhase, TerminationMessage
from refresh_operator.state.kube_types import Job, Pod
from refresh_operator.state.snapshot import Snapshot

_BAD_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
_SIGKILL: Final = 137
Message = TypeVar("Message", bound=BaseModel)


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    outcome: Outcome
    reason: Reason
    message: str = ""
    marts: str | None = None
    attempts: int = 1
    notified: bool = False
    left: bool = False
    """Whether the runner has left chats and mail to the operator."""
    image: str | None = None


def start_problem(pods: list[Pod]) -> tuple[Reason, str] | None:
    """Return why the newest pod of a run has not started, or None if it has."""
    if not pods:
        return Reason.START_TIMEOUT, "no pod was created; see the events of the Job"
    pod = pods[-1]
    if pod.status.phase != "Pending":
        return None
    waiting = pod.state.waiting
    if waiting and waiting.reason in _BAD_IMAGE:
        return Reason.IMAGE_PULL_FAILED, f"{waiting.reason}: {waiting.message}".rstrip(": ")
    # a pod is Pending until its project is fetched; the fetch has its own timeout
    if pod.is_fetching:
        return None
    unscheduled = [each for each in pod.status.conditions if each.type == "PodScheduled" and each.status == "False"]
    if unscheduled:
        return Reason.UNSCHEDULABLE, unscheduled[0].message
    if waiting:
        return Reason.START_TIMEOUT, f"{waiting.reason}: {waiting.message}".rstrip(": ")
    return Reason.START_TIMEOUT, f"pod {pod.metadata.name} has not started"


def reported_result(snapshot: Snapshot, job: Job) -> RunResult | None:
    """Return the result that the runner reported in the status or in a termination message, or None."""
    run = snapshot.refresh.run
    words = [each for pod in reversed(snapshot.pods_of(job.metadata.name)) if (each := termination_message(pod, TerminationMessage))]
    if run and run.id == job.metadata.name and (result := result_from_status(run)):
        notified = result.notified or any(each.notified for each in words)
        return replace(result, notified=notified, left=result.left or any(each.left_to_operator for each in words))
    for each in words:
        if each.phase is RunPhase.FINISHED and each.outcome and each.reason:
            left = bool(each.left_to_operator)
            return RunResult(each.outcome, each.reason, each.message or "", each.marts, each.attempt, notified=each.notified, left=left)
    return None


def revision_of(snapshot: Snapshot, run: str) -> str | None:
    """Return the revision of the project that a run has fetched, as its runner reported it; None if it reported none."""
    report = snapshot.refresh.run
    if report and report.id == run and report.revision:
        return report.revision
    words = (termination_message(pod, TerminationMessage) for pod in reversed(snapshot.pods_of(run)))
    return next((each.revision for each in words if each and each.revision), None)


def result_from_status(run: Run) -> RunResult | None:
    """Return the result in `status.run`, or None if it has none."""
    if run.phase is not RunPhase.FINISHED or not run.outcome or not run.reason:
        return None
    notified, left = bool(run.notifications), bool(run.left_to_operator)
    return RunResult(run.outcome, run.reason, run.message or "", run.marts, run.attempt, notified=notified, left=left)


def inferred_result(job: Job, pods: list[Pod]) -> RunResult:
    """Return the result of a run that reported none, from its Job and pods."""
    attempts = max(1, len(pods))
    if job.end and job.end.type == "Complete":
        return RunResult(Outcome.SUCCEEDED, Reason.SUCCEEDED, "the run succeeded, but its report was lost", attempts=attempts)
    pod = pods[-1] if pods else None
    if job.end and job.end.reason == "DeadlineExceeded":
        reason, message = Reason.DEADLINE_EXCEEDED, "all attempts together exceeded the deadline of the Job"
    elif pod is None:
        reason, message = Reason.RUNNER_LOST, f"the run's pod no longer exists: {job.end.message if job.end else ''}".rstrip(": ")
    else:
        reason, message = _pod_result(pod)
    return RunResult(Outcome.FAILED, reason, message, attempts=attempts)


def image_of(pods: list[Pod]) -> str | None:
    """Return the image of a run's last attempt, with its digest if the node has reported one."""
    return pods[-1].image if pods else None


def _pod_result(pod: Pod) -> tuple[Reason, str]:
    status, terminated, words = pod.status, pod.state.terminated, termination_message(pod, TerminationMessage)
    what = "container that fetches the dbt project" if pod.is_fetching else "runner"
    step = f" in step {words.step}" if words and words.step else ""
    if status.reason == "Evicted":
        return evicted(pod)
    if status.reason == "DeadlineExceeded":
        if pod.is_fetching:
            return Reason.DEADLINE_EXCEEDED, "the dbt project was not fetched before the attempt exceeded spec.timeout"
        return Reason.DEADLINE_EXCEEDED, f"the attempt exceeded spec.timeout{step}"
    if terminated and terminated.reason == "OOMKilled":
        hint = "" if pod.is_fetching else ", or lower spec.dbt.threads"
        return Reason.OOM_KILLED, f"the {what} exceeded its memory limit: raise spec.resources.limits.memory{hint}"
    if words and words.reason:
        return words.reason, words.message or ""
    return lost(pod, what, step)


def evicted(pod: Pod) -> tuple[Reason, str]:
    """Return the reason and the message for an evicted pod."""
    return Reason.EVICTED, f"pod {pod.metadata.name} was evicted: {pod.status.message}"


def lost(pod: Pod, what: str, step: str = "") -> tuple[Reason, str]:
    """Return the reason and the message for a container that ended without a report; `what` names it, and `step` where it was."""
    terminated = pod.state.terminated
    if terminated and terminated.exit_code == _SIGKILL:
        return Reason.RUNNER_LOST, f"{what} was killed{step} without reporting (exit code {_SIGKILL})"
    code = f" (exit code {terminated.exit_code})" if terminated else ""
    return Reason.RUNNER_LOST, f"{what} exited without reporting{code}"


def termination_message(pod: Pod, model: type[Message]) -> Message | None:
    """Return the termination message of a pod's container; None if it left none that can be parsed."""
    terminated = pod.state.terminated
    try:
        return model.model_validate_json(terminated.message) if terminated and terminated.message else None
    except ValidationError:
        return None
