"""The words that readers see for outcomes, states, verdicts, triggers and reasons."""

from collections.abc import Mapping
from typing import Final


def N_(message: str) -> str:  # noqa: N802 - gettext's name for a text that is translated later
    """Mark a text for extraction into the catalogues, and return it unchanged."""
    return message


LABELS: Final[Mapping[str, str]] = {
    # outcomes of runs and states of steps
    "Succeeded": N_("Succeeded"),
    "Warned": N_("Warned"),
    "Failed": N_("Failed"),
    "Skipped": N_("Skipped"),
    "Running": N_("Running"),
    "Pending": N_("Pending"),
    # states of previews
    "Same": N_("No difference"),
    "Differs": N_("Differs"),
    # kinds of differences
    "Added": N_("rows added"),
    "Removed": N_("rows removed"),
    "Changed": N_("rows changed"),
    "Columns": N_("other columns"),
    # verdicts on marts
    "VALID": N_("VALID"),
    "WARNING": N_("WARNING"),
    "FAILED": N_("FAILED"),
    # states of models and tests
    "ok": N_("ok"),
    "warned": N_("warned"),
    "failed": N_("failed"),
    "broken": N_("broken"),
    "skipped": N_("skipped"),
    "reused": N_("reused"),
    # what started a run
    "Scheduled": N_("Schedule"),
    "Requested": N_("Request"),
    "ProjectChange": N_("New commit"),
    "Manual": N_("Manual"),
    "Local": N_("Local"),
    # why a run was missed
    "ControllerDown": N_("the Kubernetes CronJob controller was down"),
    "Suspended": N_("Suspended"),
    "PreviousStillRunning": N_("the previous run was still in progress"),
    "ClockChange": N_("the clocks changed"),
}
"""By the value in the status or the run log."""
