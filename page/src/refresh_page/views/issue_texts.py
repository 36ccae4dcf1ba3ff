"""Names each issue of a refresh in one sentence. Placeholders: `{time}`, `{mode}` and `{reason}`."""

from typing import Final

from refresh_api.reasons import SuspendedReason
from refresh_page.i18n.labels import N_
from refresh_page.views.health import Issue, Scope

_TEXTS: Final = {
    "Overdue": N_("A run was due {time} and has not started"),
    "NotStarted": N_("A run was created {time}, but its pod has not started"),
    "Stalled": N_("Cannot run until its spec is changed"),
    "Blocked": N_("Something it depends on is missing"),
    "RequestRefused": N_("The last request was rejected"),
    "Unreadable": N_("This page cannot read part of the refresh"),
    SuspendedReason.SUSPENDED.value: N_("Scheduled runs were suspended {time}"),
    SuspendedReason.SUSPENDED_UNTIL.value: N_("Scheduled runs are suspended"),
    SuspendedReason.GLOBALLY_PAUSED.value: N_("All runs of all refreshes are paused"),
    SuspendedReason.TOO_MANY_FAILURES.value: N_("Scheduled runs are suspended after too many failures"),
}
_RUN_TEXTS: Final = {
    (Scope.LAST, "Warnings"): N_("The last run succeeded with warnings"),
    (Scope.FULL, "Warnings"): N_("The last full run succeeded with warnings"),
    (Scope.PART, "Warnings"): N_("A later partial run ({mode}) succeeded with warnings"),
    (Scope.PART, "Succeeded"): N_("A later partial run ({mode}) succeeded"),
}
_FAILED: Final = {
    Scope.LAST: N_("The last run failed ({reason})"),
    Scope.FULL: N_("The last full run failed ({reason})"),
    Scope.PART: N_("A later partial run ({mode}) failed ({reason})"),
}


def issue_text(issue: Issue) -> str:
    """Return the sentence of an issue, in English, with its placeholders."""
    if issue.scope is None:
        if issue.reason == SuspendedReason.SUSPENDED and issue.time is None:
            return _TEXTS[SuspendedReason.SUSPENDED_UNTIL.value]
        return _TEXTS.get(issue.reason, N_("Scheduled runs are suspended ({reason})"))
    return _RUN_TEXTS.get((issue.scope, issue.reason)) or _FAILED[issue.scope]
