"""What keeps a refresh from being ready."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Why a refresh is not ready."""

    reason: str
    message: str
    stalled: bool
    """Whether only a change by its users can help; otherwise it heals by itself once what is missing is there."""
