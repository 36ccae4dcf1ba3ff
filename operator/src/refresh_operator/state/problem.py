"""Why a refresh is not ready."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Why a refresh is not ready."""

    reason: str
    message: str
    stalled: bool
    """Whether only a change by the users helps. If false, the operator retries until the cause is gone."""
