"""The text of a notification: one subject and one body for every channel."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from refresh_api.model import time_text
from refresh_api.notifications import NotifyWhen
from refresh_api.project import short_revision
from refresh_api.redaction import Redactor

_SUBJECT_LENGTH = 150
_TEXT_LENGTH = 3000
_LISTED: Final = 40
"""Maximum number of refreshes that one message lists; of further ones, it says the number."""
_LISTED_LENGTH: Final = 120
_EVENTS_OF_ALL: Final = {
    NotifyWhen.FAILED: ("✗", "failed"),
    NotifyWhen.RECOVERED: ("✓", "recovered"),
    NotifyWhen.STALE: ("⚠", "have stale data"),
    NotifyWhen.MISSED: ("⚠", "missed a run"),
}
"""What is said of several refreshes."""
_OVER: Final = {NotifyWhen.STALE: "Fresh", NotifyWhen.MISSED: "OnSchedule"}
"""The end of what people were notified of, in one word."""


@dataclass(frozen=True)
class NotifiedRun:
    """What people are notified of: a run, or that the data of a refresh are stale, or that it missed a run."""

    refresh: str
    namespace: str
    title: str
    run: str | None
    """Name of the run; None if people are notified of stale data or a missed run."""
    reason: str
    message: str
    """Names the step, and the model or test with its error."""
    when: NotifyWhen = NotifyWhen.FAILED
    """Why people are notified."""
    is_over: bool = False
    """Whether data that were stale are fresh again, or scheduled runs that were missed start again."""
    is_test: bool = False
    """Whether nothing has happened, and a message only shows that the channel works."""
    uid: str | None = None
    """uid of the refresh; None outside a cluster."""
    hint: str = ""
    """What to do next."""
    note: str = ""
    """What else to know of this message."""
    step: str | None = None
    """The step that failed, for example 3/6 marts."""
    attempts: int = 1
    marts: str | None = None
    revision: str | None = None
    """Revision of the dbt project that the run fetched, for example main@sha1:6e27e9a9…."""
    failing_since: datetime | None = None
    """When the first of the failed runs ended, if this one is a recovery."""
    in_cluster: bool = True
    link_template: str = ""
    """URL of a run with the placeholders {namespace}, {name} and {run}, or empty."""

    @property
    def link(self) -> str | None:
        """The URL of this run; None without a run or a template."""
        if self.run is None:
            return None
        values = {"{namespace}": self.namespace, "{name}": self.refresh, "{run}": self.run}
        link = self.link_template
        for placeholder, value in values.items():
            link = link.replace(placeholder, value)
        return link or None

    @property
    def event(self) -> str:
        """Why people are notified, in one word."""
        return "Test" if self.is_test else _OVER[self.when] if self.is_over else self.when.value

    @property
    def resolves(self) -> bool:
        """Whether what people were notified of before is over."""
        return self.is_over or self.when is NotifyWhen.RECOVERED

    @property
    def identity(self) -> str:
        """What identifies the refresh among those of all clusters, where that is known."""
        return self.uid or f"{self.namespace}/{self.refresh}"


@dataclass(frozen=True)
class Message:
    """A notification, without secrets."""

    subject: str
    text: str
    run: NotifiedRun
    """The run; its texts are as in the notification."""


def message_for(run: NotifiedRun, redact: Redactor | None = None) -> Message:
    """Return the message about a run, without secrets: what happened, why, what to do, and where to find more."""
    redact = redact or Redactor()
    run = _clean(run, redact)
    if run.is_test:
        text = f"This is a test of the notifications of {run.namespace}/{run.refresh} (run {run.run}). Nothing has failed."
        return Message(redact.clipped(_printable(f"{run.title} refresh: test message"), _SUBJECT_LENGTH), text, run)
    sign, what = _event(run)
    subject = redact.clipped(" ".join(f"{sign} {run.title} refresh {what}".split()), _SUBJECT_LENGTH)
    since = f", after failing since {time_text(run.failing_since)}" if run.failing_since else ""
    lines = [
        f"{run.refresh}{f' (run {run.run})' if run.run else ''} {what}{since}",
        run.message,
        *([f"What to do: {run.hint}"] if run.hint else []),
        *([f"Valid marts: {run.marts}"] if run.marts else []),
        *([f"Attempts: {run.attempts}"] if run.attempts > 1 else []),
        *([f"Revision of the project: {run.revision}"] if run.revision else []),
        *_further(run),
        *([run.note] if run.note else []),
    ]
    return Message(_printable(subject), _printable("\n".join(lines)), run)


def message_for_all(runs: Sequence[NotifiedRun], cause: str, redact: Redactor) -> Message:
    """Return the message about the same event of several refreshes of a namespace, and what they have in common."""
    if len(runs) == 1:
        return message_for(runs[0], redact)
    cleaned, cause = [_clean(run, redact) for run in runs], _printable(redact.clipped(cause))
    first = cleaned[0]
    sign, what = _EVENTS_OF_ALL[first.when]
    texts = {run.message for run in cleaned}
    rest = len(cleaned) - _LISTED
    lines = [
        f"{len(cleaned)} refreshes in namespace {first.namespace} {what}: {cause}",
        *([first.message] if len(texts) == 1 else []),
        *([f"What to do: {first.hint}"] if first.hint else []),
        *(_listed(run, redact, with_message=len(texts) > 1) for run in cleaned[:_LISTED]),
        *([f"… and {rest} more; see: kubectl -n {first.namespace} get dashboardrefreshes"] if rest > 0 else []),
        *([first.note] if first.note else []),
    ]
    subject = redact.clipped(f"{sign} {len(cleaned)} refreshes {what}: {cause}", _SUBJECT_LENGTH)
    return Message(_printable(subject), _printable("\n".join(lines)), replace(first, run=None))


def _listed(run: NotifiedRun, redact: Redactor, *, with_message: bool) -> str:
    name = run.refresh if run.title == run.refresh else f"{run.title}, {run.refresh}"
    since = f", after failing since {time_text(run.failing_since)}" if run.failing_since else ""
    message = f": {redact.clipped(' '.join(run.message.split()), _LISTED_LENGTH)}" if with_message and run.message else ""
    place = f" ({run.link or f'run {run.run}'})" if run.run else ""
    return f"- {name}{place}{since}{message}"


def _clean(run: NotifiedRun, redact: Redactor) -> NotifiedRun:
    return replace(
        run,
        title=_printable(redact.clipped(run.title)),
        message=_printable(redact.clipped(run.message, _TEXT_LENGTH)),
        hint=_printable(redact.clipped(run.hint)),
        revision=_printable(redact.clipped(short_revision(run.revision))) if run.revision else None,
    )


def _event(run: NotifiedRun) -> tuple[str, str]:
    match run.when:
        case NotifyWhen.FAILED:
            return "✗", f"failed{f' at {run.step}' if run.step else ''}: {run.reason}"
        case NotifyWhen.WARNED:
            return "⚠", "succeeded with warnings"
        case NotifyWhen.SUCCEEDED:
            return "✓", "succeeded"
        case NotifyWhen.RECOVERED:
            return "✓", "recovered"
        case NotifyWhen.STALE:
            return ("✓", "has fresh data again") if run.is_over else ("⚠", "has stale data")
        case NotifyWhen.MISSED:
            return ("✓", "is on schedule again") if run.is_over else ("⚠", f"missed a run: {run.reason}")


def _printable(text: str) -> str:
    """Return a text without control characters and characters that change the direction of writing."""
    return "".join(each if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs") else " " for each in text)


def _further(run: NotifiedRun) -> list[str]:
    if run.link:
        return [f"The run: {run.link}"]
    if not run.in_cluster:
        return []
    return [
        "For more details:",
        f"  kubectl -n {run.namespace} describe dashboardrefresh {run.refresh}",
        *([f"  kubectl -n {run.namespace} logs job/{run.run}"] if run.run else []),
    ]
