"""Names of the objects that belong to a refresh; all are derived, so that whoever computes them twice finds the same object."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

CRONJOB_NAME_MAX_LENGTH: Final = 50
"""A Job is named after its CronJob with 11 characters more, its pod's host name has "-0" besides; 63 are allowed."""


@dataclass(frozen=True)
class Ref:
    """Which refresh."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def cronjob_name(refresh: str) -> str:
    """Return the name of a refresh's CronJob: its own, or the start of it with a hash where it is too long."""
    return refresh if len(refresh) <= CRONJOB_NAME_MAX_LENGTH else f"{refresh[:43]}-{_digest(refresh, 6)}"


def rbac_name(refresh: str) -> str:
    """Return the name of the ServiceAccount, Role and RoleBinding of a refresh's pods."""
    return f"{cronjob_name(refresh)}-runner"


def requested_job_name(refresh: str, uid: str, token: str) -> str:
    """Return the name of the Job that answers one request: the same for the same token of the same resource."""
    return f"{cronjob_name(refresh)}-{_digest(f'{uid}/{token}', 10)}"


def event_name(refresh: str, *parts: str) -> str:
    """Return the name of an event: one that was posted before is refused as a duplicate."""
    return f"{refresh}.{_digest('/'.join(parts), 16)}"


def _digest(text: str, length: int) -> str:
    return sha256(text.encode()).hexdigest()[:length]
