"""Events for PagerDuty's Events API v2: a failed run or stale data trigger an incident, and a recovery or fresh data resolve it."""

from pydantic import JsonValue

from refresh_api.channels import Severity
from refresh_api.notifications import NotifyWhen
from refresh_notify.message import Message


def body(routing_key: str, severity: Severity, message: Message, *, resolves: bool) -> JsonValue:
    """Return the event. All failures of one refresh have one key, so that further ones open no further incidents.

    Stale data and tests have keys of their own, so that they resolve no other incident.
    """
    run = message.run
    about = "/test" if run.is_test else "/stale" if run.when is NotifyWhen.STALE else ""
    return {
        "routing_key": routing_key,
        "event_action": "resolve" if resolves else "trigger",
        "dedup_key": f"dashboard-refresh/{run.identity}{about}",
        "payload": {
            "summary": message.subject,
            "source": f"{run.namespace}/{run.refresh}",
            "severity": Severity.INFO if run.is_test else severity,
            "component": run.refresh,
            "class": run.reason,
            "custom_details": {"text": message.text, "run": run.run},
        },
        "links": [{"href": run.link, "text": "The run"}] if run.link else [],
    }
