"""What people are told of a failed run: one subject and one text for every channel."""

from dataclasses import dataclass

from refresh_api.status import clip

_SUBJECT_LENGTH = 150
_TEXT_LENGTH = 3000


@dataclass(frozen=True)
class FailedRun:
    """A run that is over and failed."""

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
    """Where it failed, for example 3/6 marts."""
    attempts: int = 1
    marts: str | None = None
    in_cluster: bool = True
    link_template: str = ""
    """Address of a run, with {namespace}, {name} and {run} to fill in; empty where there is none."""

    @property
    def link(self) -> str | None:
        """The address of this run; None without a template."""
        values = {"{namespace}": self.namespace, "{name}": self.refresh, "{run}": self.run}
        link = self.link_template
        for placeholder, value in values.items():
            link = link.replace(placeholder, value)
        return link or None


@dataclass(frozen=True)
class Message:
    """What is sent."""

    subject: str
    text: str


def message_for(failed: FailedRun) -> Message:
    """Return the message of a failed run: what failed, why, what to do, and where to look further."""
    where = f" at {failed.step}" if failed.step else ""
    subject = clip(" ".join(f"✗ {failed.title} refresh failed{where}: {failed.reason}".split()), _SUBJECT_LENGTH)
    lines = [
        f"{failed.refresh} (run {failed.run}) failed{where}: {failed.reason}",
        clip(failed.message, _TEXT_LENGTH),
        *([f"What to do: {failed.hint}"] if failed.hint else []),
        *([f"Valid marts: {failed.marts}"] if failed.marts else []),
        *([f"Attempts: {failed.attempts}"] if failed.attempts > 1 else []),
        *_further(failed),
    ]
    return Message(subject, "\n".join(lines))


def _further(failed: FailedRun) -> list[str]:
    if failed.link:
        return [f"The run: {failed.link}"]
    if not failed.in_cluster:
        return []
    return [
        "To look further:",
        f"  kubectl -n {failed.namespace} describe dashboardrefresh {failed.refresh}",
        f"  kubectl -n {failed.namespace} logs job/{failed.run}",
    ]
