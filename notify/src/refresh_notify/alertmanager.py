"""Alerts for Alertmanager's API v2: a failed run, stale data or a missed run fire an alert, and the end of it resolves it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import JsonValue

from refresh_api.model import time_text
from refresh_api.notifications import NotifyWhen
from refresh_notify.message import Message, NotifiedRun

_FIRES_FOR: Final = timedelta(days=30)
"""How long an alert fires without a recovery or another failure. Without an end, Alertmanager would resolve it after five minutes."""
_TEST_FIRES_FOR: Final = timedelta(minutes=5)
_NAMES: Final = {NotifyWhen.STALE: "DashboardRefreshDataStale", NotifyWhen.MISSED: "DashboardRefreshRunMissed"}
"""Names of the alerts that no failed run fires."""


def alerts_url(base: str) -> str:
    """Return the address of the alerts of an Alertmanager."""
    return f"{base.rstrip('/')}/api/v2/alerts"


def body(labels: Mapping[str, str], message: Message) -> JsonValue:
    """Return the alert. All alerts of one name have the same labels for one refresh, since they identify what a recovery resolves."""
    run, now = message.run, datetime.now(UTC)
    fires_for = _TEST_FIRES_FOR if run.is_test else timedelta(0) if run.resolves else _FIRES_FOR
    alert: dict[str, JsonValue] = {
        "labels": {**labels, "alertname": _name(run), "namespace": run.namespace, "refresh": run.refresh},
        "annotations": {
            "summary": message.subject,
            "description": message.text,
            "reason": run.reason,
            **({"run": run.run} if run.run else {}),
        },
        "endsAt": time_text(now + fires_for),
    }
    if run.link:
        alert["generatorURL"] = run.link
    return [alert]


def _name(run: NotifiedRun) -> str:
    if run.is_test:
        return "DashboardRefreshNotificationTest"
    return _NAMES.get(run.when, "DashboardRefreshRunFailed")
