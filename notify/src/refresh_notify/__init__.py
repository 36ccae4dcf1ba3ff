"""Notifications of runs, for the runner, and for the operator if a run ended without a report or is a recovery.

Everything here is synchronous and bounded in time: `notify` never raises for a channel that fails.
"""

from refresh_notify.message import Message, NotifiedRun, message_for
from refresh_notify.notify import notify, notify_together, secrets_needed
from refresh_notify.posting import Rules

__all__ = ["Message", "NotifiedRun", "Rules", "message_for", "notify", "notify_together", "secrets_needed"]
