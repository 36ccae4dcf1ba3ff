"""Notifications of failed runs, for the runner, and for the operator if a run ended without a report.

Everything here is synchronous and bounded in time: `notify` never raises for a channel that fails.
"""

from refresh_notify.channels import Rules
from refresh_notify.message import FailedRun, Message, message_for
from refresh_notify.notify import notify, secrets_needed

__all__ = ["FailedRun", "Message", "Rules", "message_for", "notify", "secrets_needed"]
