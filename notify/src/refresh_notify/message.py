"""The text of a notification: one subject and one body for every channel."""

import unicodedata
from dataclasses import dataclass

from refresh_api.project import short_revision
from refresh_api.redaction import Redactor

_SUBJECT_LENGTH = 150
_TEXT_LENGTH = 3000


@dataclass(frozen=True)
class FailedRun:
    """A failed run."""

    refresh: str
    namespace: str
    title: str
    run: str
    reason: str
    message: str
    """Names the step, and the model or test with its error."""
    hint: str = ""
    """What to do next."""
    step: str | None = None
    """The step that failed, for example 3/6 marts."""
    attempts: int = 1
    marts: str | None = None
    revision: str | None = None
    """Revision of the dbt project that the run fetched, for example main@sha1:6e27e9a9…."""
    in_cluster: bool = True
    link_template: str = ""
    """URL of a run with the placeholders {namespace}, {name} and {run}, or empty."""

    @property
    def link(self) -> str | None:
        """The URL of this run; None without a template."""
        values = {"{namespace}": self.namespace, "{name}": self.refresh, "{run}": self.run}
        link = self.link_template
        for placeholder, value in values.items():
            link = link.replace(placeholder, value)
        return link or None


@dataclass(frozen=True)
class Message:
    """A notification."""

    subject: str
    text: str


def message_for(failed: FailedRun, redact: Redactor | None = None) -> Message:
    """Return the message of a failed run, without secrets: what failed, why, what to do, and where to find more."""
    redact = redact or Redactor()
    where = f" at {failed.step}" if failed.step else ""
    subject = redact.clipped(" ".join(f"✗ {failed.title} refresh failed{where}: {failed.reason}".split()), _SUBJECT_LENGTH)
    lines = [
        f"{failed.refresh} (run {failed.run}) failed{where}: {failed.reason}",
        redact.clipped(failed.message, _TEXT_LENGTH),
        *([f"What to do: {redact.clipped(failed.hint)}"] if failed.hint else []),
        *([f"Valid marts: {failed.marts}"] if failed.marts else []),
        *([f"Attempts: {failed.attempts}"] if failed.attempts > 1 else []),
        *([f"Revision of the project: {redact.clipped(short_revision(failed.revision))}"] if failed.revision else []),
        *_further(failed),
    ]
    return Message(_printable(subject), _printable("\n".join(lines)))


def slack_text(message: Message) -> str:
    """Return a message in Slack's format, escaped, so that no text becomes a link or a mention."""
    text = f"*{message.subject}*\n{message.text}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _printable(text: str) -> str:
    """Return a text without control characters and characters that change the direction of writing."""
    return "".join(each if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs") else " " for each in text)


def _further(failed: FailedRun) -> list[str]:
    if failed.link:
        return [f"The run: {failed.link}"]
    if not failed.in_cluster:
        return []
    return [
        "For more details:",
        f"  kubectl -n {failed.namespace} describe dashboardrefresh {failed.refresh}",
        f"  kubectl -n {failed.namespace} logs job/{failed.run}",
    ]
