"""Why the rules of the operator's chart do not let a refresh run as its spec says."""

from dataclasses import dataclass

from refresh_api.reasons import ReadyReason, SuspendedReason


@dataclass(frozen=True)
class Denial:
    """A rule that a refresh breaks. It is Stalled, its CronJob is suspended, and its requests are queued."""

    ready: ReadyReason
    suspended: SuspendedReason
    message: str
