"""Alerts for Alertmanager's API v2: a failed run fires an alert, and a recovery resolves it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api.model import time_text
from refresh_api.notifications import NotifyWhen
from refresh_notify.message import Message

_FIRES_FOR: Final = timedelta(days=30)
"""How long an alert fires without a recovery or another failure. Without an end, Alertmanager would resolve it after five minutes."""
_TEST_FIRES_FOR: Final = timedelta(minutes=5)


def alerts_url(base: str) -> str:
    """Return the address of the alerts of an Alertmanager."""
    return f"{base.rstrip('/')}/api/v2/alerts"


def body(labels: Mapping[str, str], message: Message) -> JsonValue:
    """Return the alert. The labels of all alerts of one refresh are the same, since they identify what a recovery resolves."""
    run, now = message.run, datetime.now(UTC)
    name = "DashboardRefreshNotificationTest" if run.is_test else "DashboardRefreshRunFailed"
    fires_for = _TEST_FIRES_FOR if run.is_test else timedelta(0) if run.when is NotifyWhen.RECOVERED else _FIRES_FOR
    alert: dict[str, JsonValue] = {
        "labels": {**labels, "alertname": name, "namespace": run.namespace, "refresh": run.refresh},
        "annotations": {"summary": message.subject, "description": message.text, "reason": run.reason, "run": run.run},
        "endsAt": time_text(now + fires_for),
    }
    if run.link:
        alert["generatorURL"] = run.link
    return [alert]
