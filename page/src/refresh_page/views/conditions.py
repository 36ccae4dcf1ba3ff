"""States each condition of a refresh as a sentence, so that nobody has to know whether True is good news."""

from dataclasses import dataclass
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.reasons import SuspendedReason
from refresh_api.status import Condition, ConditionStatus
from refresh_page.i18n.labels import N_
from refresh_page.views.health import Tone


@dataclass(frozen=True)
class _Meaning:
    sentence: str
    tone: Tone
    has_detail: bool = False
    """Whether the operator's message is shown after the sentence."""


_MEANINGS: Final = {
    ("Ready", "True"): _Meaning(N_("Set up and running on schedule"), Tone.GOOD),
    ("Ready", "Suspended"): _Meaning(N_("Set up; scheduled runs are suspended"), Tone.GOOD),
    ("Ready", "False"): _Meaning(N_("Cannot run as configured"), Tone.BAD, has_detail=True),
    ("Reconciling", "True"): _Meaning(N_("Something it depends on is missing; retrying"), Tone.WARN, has_detail=True),
    ("Stalled", "True"): _Meaning(N_("Cannot run until its spec is changed"), Tone.BAD, has_detail=True),
    ("Running", "True"): _Meaning(N_("A run is in progress"), Tone.NONE, has_detail=True),
    ("Running", "False"): _Meaning(N_("No run is in progress"), Tone.NONE),
    ("LastRunSucceeded", "True"): _Meaning(N_("The last run succeeded"), Tone.GOOD),
    ("LastRunSucceeded", "SucceededWithWarnings"): _Meaning(N_("The last run succeeded with warnings"), Tone.WARN, has_detail=True),
    ("LastRunSucceeded", "NothingChanged"): _Meaning(N_("The last run found no changes and kept the data"), Tone.GOOD),
    ("LastRunSucceeded", "RolledBack"): _Meaning(N_("The last run restored the previous data"), Tone.GOOD, has_detail=True),
    ("LastRunSucceeded", "False"): _Meaning(N_("The last run failed"), Tone.BAD, has_detail=True),
    ("LastRunSucceeded", "Unknown"): _Meaning(N_("No run has finished yet"), Tone.NONE),
    ("Suspended", "True"): _Meaning(N_("Scheduled runs are suspended"), Tone.NONE, has_detail=True),
    ("Suspended", SuspendedReason.GLOBALLY_PAUSED.value): _Meaning(N_("All runs of all refreshes are paused"), Tone.WARN, has_detail=True),
    ("Suspended", SuspendedReason.TOO_MANY_FAILURES.value): _Meaning(
        N_("Scheduled runs are suspended after too many failures"), Tone.WARN, has_detail=True
    ),
    ("Suspended", "False"): _Meaning(N_("Scheduled runs are active"), Tone.GOOD),
    ("DataFresh", "True"): _Meaning(N_("The data is within its maximum age"), Tone.GOOD),
    ("DataFresh", "False"): _Meaning(N_("The data is older than its maximum age"), Tone.BAD, has_detail=True),
    ("DataFresh", "NeverLoaded"): _Meaning(N_("No data has been loaded yet"), Tone.BAD),
}
"""By type and reason, or else by type and status."""
_ONLY_WHEN_TRUE: Final = frozenset({"Reconciling", "Stalled"})
"""Types that the page leaves out unless they are True: their absence is the normal state."""


class ConditionView(Model):
    """One condition."""

    type: str
    status: ConditionStatus
    reason: str
    sentence: str
    """What is true now, in English."""
    detail: str
    """The operator's message if it adds something to the sentence; otherwise empty."""
    message: str
    since: Time
    tone: Tone


def condition_views(conditions: list[Condition]) -> tuple[ConditionView, ...]:
    """Return the conditions that readers see; one of an unknown type is shown by its name and message."""
    return tuple(_view(each) for each in conditions if each.type not in _ONLY_WHEN_TRUE or each.status is ConditionStatus.TRUE)


def _view(condition: Condition) -> ConditionView:
    by_status = _MEANINGS.get((condition.type, condition.status.value), _Meaning(condition.type, Tone.NONE, has_detail=True))
    meaning = _MEANINGS.get((condition.type, condition.reason), by_status)
    return ConditionView(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        sentence=meaning.sentence,
        detail=condition.message if meaning.has_detail else "",
        message=condition.message,
        since=condition.last_transition_time,
        tone=Tone.NONE if condition.status is ConditionStatus.UNKNOWN else meaning.tone,
    )
