"""Names of the objects that belong to a refresh. The same input always results in the same name, so that no object is created twice."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from refresh_api.names import KIND, preview_id

CRONJOB_NAME_MAX_LENGTH: Final = 50
"""A Job's name is 11 characters longer than that of its CronJob, and its pod's host name another two; 63 are allowed."""
_PREVIEW_NAME_LENGTH: Final = 45


@dataclass(frozen=True, order=True)
class Ref:
    """Namespace, name and kind of a refresh or a preview: what the operator reconciles."""

    namespace: str
    name: str
    kind: str = KIND

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def cronjob_name(refresh: str) -> str:
    """Return the name of a refresh's CronJob: that of the refresh, shortened and with a hash if it is too long."""
    return refresh if len(refresh) <= CRONJOB_NAME_MAX_LENGTH else f"{refresh[:43]}-{_digest(refresh, 6)}"


def rbac_name(refresh: str) -> str:
    """Return the name of the ServiceAccount, Role and RoleBinding of a refresh's pods."""
    return f"{cronjob_name(refresh)}-runner"


def requested_job_name(refresh: str, uid: str, token: str) -> str:
    """Return the name of the Job for one request of a refresh."""
    return f"{cronjob_name(refresh)}-{_digest(f'{uid}/{token}', 10)}"


def check_job_name(refresh: str, uid: str, slot: str) -> str:
    """Return the name of the Job that checks a refresh for a new commit of its project."""
    return f"{cronjob_name(refresh)}-{_digest(f'{uid}/check/{slot}', 10)}"


def preview_name(preview: str, uid: str) -> str:
    """Return the name of a preview's Job and permissions. It ends as its schemas do, and differs from that of a deleted preview."""
    return f"{preview[:_PREVIEW_NAME_LENGTH].rstrip('-.')}-{preview_id(uid)}"


def event_name(refresh: str, *parts: str) -> str:
    """Return the name of an event. It is the same for equal events, so that the API server rejects duplicates."""
    return f"{refresh}.{_digest('/'.join(parts), 16)}"


def _digest(text: str, length: int) -> str:
    return sha256(text.encode()).hexdigest()[:length]
