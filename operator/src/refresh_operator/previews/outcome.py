"""Why a preview's pod ended without a report; pure."""

from datetime import datetime, timedelta

from refresh_api.preview import PreviewEnd, PreviewState
from refresh_api.status import Reason
from refresh_api.values import duration_text
from refresh_operator.runs.outcome import evicted, lost, start_problem, termination_message
from refresh_operator.state.kube_types import Job, Pod


def end_of(job: Job, pods: tuple[Pod, ...]) -> tuple[str, str]:
    """Return the reason and the message for a preview whose Job has ended and which has not reported."""
    pod = pods[-1] if pods else None
    reported = termination_message(pod, PreviewEnd) if pod else None
    if reported and reported.state is PreviewState.FAILED:
        return reported.reason, reported.message
    if reported:
        return (
            Reason.RUNNER_ERROR,
            f"the preview ended with {reported.state} ({reported.message}), but its report was lost: create it again",
        )
    if pod is None:
        return Reason.RUNNER_LOST, f"the preview's pod no longer exists: {job.end.message if job.end else ''}".rstrip(": ")
    if "DeadlineExceeded" in (pod.status.reason, job.end.reason if job.end else ""):
        what = "the projects were not fetched" if pod.is_fetching else "the preview did not end"
        return Reason.DEADLINE_EXCEEDED, f"{what} before the deadline of its pod: raise spec.preview.timeout of the refresh"
    return _of_container(pod)


def late_start(job: Job, pods: tuple[Pod, ...], limit: timedelta, now: datetime) -> tuple[str, str] | None:
    """Return the reason and the message if the pod did not start in time; None if it did, or has time left."""
    problem = start_problem(list(pods))
    if problem is None or now < job.metadata.creation_timestamp + limit:
        return None
    return problem[0], f"pod did not start within {duration_text(limit)}: {problem[1]}".rstrip(": ")


def _of_container(pod: Pod) -> tuple[str, str]:
    terminated = pod.state.terminated
    what = "the container that fetches a project" if pod.is_fetching else "the runner"
    if pod.status.reason == "Evicted":
        return evicted(pod)
    if terminated and terminated.reason == "OOMKilled":
        hint = "raise spec.preview.resources.limits.memory of the refresh, or lower spec.dbt.threads"
        return Reason.OOM_KILLED, f"{what} exceeded its memory limit: {hint}"
    return lost(pod, what)
