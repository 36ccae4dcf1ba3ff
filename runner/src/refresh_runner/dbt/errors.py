"""The failure of a run whose dbt project, or selection of nodes, is invalid."""

from __future__ import annotations

from refresh_api.status import Reason
from refresh_runner.core.errors import LINT_HINT, Failure, RunFailedError


def invalid_project(message: str, hint: str = LINT_HINT) -> RunFailedError:
    """Return the error to raise."""
    return RunFailedError(Failure(Reason.INVALID_PROJECT, message, hint=hint))


def error_text(error: BaseException | None) -> str:
    """Return the message of an exception on one line, or its class if it has no message."""
    return one_line(str(error)) if error and str(error) else type(error).__name__


def one_line(message: str) -> str:
    """Return dbt's message on one line, without paths of files that exist only in the pod."""
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("compiled code at", "> in macro", "> called by")))
