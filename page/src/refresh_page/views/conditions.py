"""The conditions of a refresh in plain words; pure. What stands here is a text of the page, to be translated like all others."""

from typing import Final

from refresh_api.model import Model, Time
from refresh_api.status import Condition, ConditionStatus
from refresh_page.views.health import Tone

_SENTENCES: Final = {
    ("Ready", "True"): "It is set up and runs by its schedule.",
    ("Ready", "Suspended"): "It is set up; its scheduled runs are switched off.",
    ("Ready", "False"): "It can't run as it is.",
    ("Reconciling", "True"): "Something that it needs is missing; it goes on by itself once that is there.",
    ("Stalled", "True"): "Only a change of its settings helps.",
    ("Running", "True"): "A run is under way.",
    ("Running", "False"): "No run is under way.",
    ("LastRunSucceeded", "True"): "The last run succeeded.",
    ("LastRunSucceeded", "SucceededWithWarnings"): "The last run succeeded, with warnings.",
    ("LastRunSucceeded", "NothingChanged"): "Nothing had changed, so the data stayed as it is.",
    ("LastRunSucceeded", "RolledBack"): "The data before was put back.",
    ("LastRunSucceeded", "False"): "The last run failed.",
    ("LastRunSucceeded", "Unknown"): "No run has ended yet.",
    ("Suspended", "True"): "Its scheduled runs are switched off.",
    ("Suspended", "EverythingPaused"): "Everything is paused: no run starts.",
    ("Suspended", "TooManyFailures"): "Its scheduled runs are off, since too many failed.",
    ("Suspended", "False"): "Its scheduled runs start.",
    ("DataFresh", "True"): "The data is as young as it should be.",
    ("DataFresh", "False"): "The data is older than it should be.",
    ("DataFresh", "NeverLoaded"): "No data was ever loaded.",
}
"""By type and reason, or else by type and status; a condition that says nothing by not holding is left out."""
_BAD: Final = frozenset({("Ready", "False"), ("Stalled", "True"), ("LastRunSucceeded", "False"), ("DataFresh", "False")})
_WARN: Final = frozenset({("Reconciling", "True")})
_WARN_REASONS: Final = frozenset({"SucceededWithWarnings", "EverythingPaused", "TooManyFailures"})


class ConditionView(Model):
    """One condition."""

    type: str
    status: ConditionStatus
    reason: str
    sentence: str
    """In plain words, in English."""
    message: str
    """The operator's own words."""
    since: Time
    tone: Tone


def condition_views(conditions: list[Condition]) -> tuple[ConditionView, ...]:
    """Return the conditions that say something."""
    found = []
    for each in conditions:
        key = (each.type, each.status.value)
        sentence = _SENTENCES.get((each.type, each.reason)) or _SENTENCES.get(key)
        if sentence is None and each.type in ("Reconciling", "Stalled"):
            continue
        tone = Tone.BAD if key in _BAD else Tone.WARN if key in _WARN or each.reason in _WARN_REASONS else Tone.GOOD
        if each.type == "Running" or (tone is Tone.GOOD and key == ("Suspended", "True")) or each.status is ConditionStatus.UNKNOWN:
            tone = Tone.NONE
        found.append(
            ConditionView(
                type=each.type,
                status=each.status,
                reason=each.reason,
                sentence=sentence or each.type,
                message=each.message,
                since=each.last_transition_time,
                tone=tone,
            )
        )
    return tuple(found)
