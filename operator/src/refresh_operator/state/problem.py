"""Why a refresh is not ready."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Why a refresh is not ready."""

    reason: str
    message: str
    stalled: bool
    """Whether users must change something. If False, the operator retries until the cause is gone."""
