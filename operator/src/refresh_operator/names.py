"""Names of the objects that belong to a refresh. The same input always results in the same name, so that no object is created twice."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

CRONJOB_NAME_MAX_LENGTH: Final = 50
"""A Job's name adds 11 characters to that of its CronJob, and its pod's host name another two; 63 are allowed."""


@dataclass(frozen=True)
class Ref:
    """Namespace and name of a refresh."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def cronjob_name(refresh: str) -> str:
    """Return the name of a refresh's CronJob: the refresh's own, or its start and a hash if it is too long."""
    return refresh if len(refresh) <= CRONJOB_NAME_MAX_LENGTH else f"{refresh[:43]}-{_digest(refresh, 6)}"


def rbac_name(refresh: str) -> str:
    """Return the name of the ServiceAccount, Role and RoleBinding of a refresh's pods."""
    return f"{cronjob_name(refresh)}-runner"


def requested_job_name(refresh: str, uid: str, token: str) -> str:
    """Return the name of the Job for one request of a refresh."""
    return f"{cronjob_name(refresh)}-{_digest(f'{uid}/{token}', 10)}"


def event_name(refresh: str, *parts: str) -> str:
    """Return the name of an event, by which the API server rejects duplicates."""
    return f"{refresh}.{_digest('/'.join(parts), 16)}"


def _digest(text: str, length: int) -> str:
    return sha256(text.encode()).hexdigest()[:length]
