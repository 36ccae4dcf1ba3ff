"""Events that are posted on a refresh: what people see in `kubectl describe`, one for each change; pure."""

from dataclasses import dataclass
from datetime import datetime

from refresh_api.model import time_text
from refresh_api.status import ConditionStatus, OperatorShare, Outcome, clip
from refresh_operator.drift import Difference
from refresh_operator.runs import Ended
from refresh_operator.share import condition_of
from refresh_operator.world import Json

_RUN_REASONS = {
    Outcome.SUCCEEDED: "RunSucceeded",
    Outcome.WARNED: "RunSucceededWithWarnings",
    Outcome.FAILED: "RunFailed",
    Outcome.SKIPPED: "RunSkipped",
}
_MESSAGE_LENGTH = 1000
"""Characters that Kubernetes takes in an event's message: 1024."""


@dataclass(frozen=True)
class Note:
    """One event to post."""

    reason: str
    message: str
    key: str
    """What it is about: the same reason with the same key is posted once."""
    warning: bool = False


def notes_of(before: OperatorShare, after: OperatorShare, ended: tuple[Ended, ...], now: datetime) -> tuple[Note, ...]:
    """Return the events of the change from one share to the next."""
    known = {run.id for run in before.active}
    notes = [Note("RunStarted", f"run {run.id} ({run.trigger.value})", run.id) for run in after.active if run.id not in known]
    for run in (each.run for each in ended):
        text = f"run {run.id}: {run.reason.value}" + (f": {run.message}" if run.message else "")
        notes.append(Note(_RUN_REASONS[run.outcome], clip(text, _MESSAGE_LENGTH), run.id, warning=run.outcome is Outcome.FAILED))
    return (*notes, *_readiness_notes(before, after, now))


def drift_note(item: Json, found: tuple[Difference, ...]) -> Note:
    """Return the event that tells of a repaired object; without differences it was missing."""
    metadata = item["metadata"]
    name = metadata["name"] if isinstance(metadata, dict) else ""
    fields = ", ".join(each.path for each in found)
    what = f"changed by hand, put right: {fields}" if found else "deleted by hand, made again"
    return Note("DriftCorrected", clip(f"{item['kind']} {name} was {what}", _MESSAGE_LENGTH), key="", warning=True)


def _readiness_notes(before: OperatorShare, after: OperatorShare, now: datetime) -> list[Note]:
    old, new = condition_of(before, "Ready"), condition_of(after, "Ready")
    if new is None or (old and (old.status, old.reason) == (new.status, new.reason)):
        return []
    return [Note(new.reason, clip(new.message, _MESSAGE_LENGTH), time_text(now), warning=new.status is not ConditionStatus.TRUE)]
