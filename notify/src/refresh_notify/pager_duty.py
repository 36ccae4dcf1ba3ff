"""Events for PagerDuty's Events API v2: a failed run triggers an incident, and a recovery resolves it."""

from pydantic import JsonValue

from refresh_api.channels import Severity
from refresh_notify.message import Message


def body(routing_key: str, severity: Severity, message: Message, *, resolves: bool) -> JsonValue:
    """Return the event. All events of one refresh have one key, so that further failures open no further incidents.

    A test has a key of its own, so that it resolves no other incident.
    """
    run = message.run
    return {
        "routing_key": routing_key,
        "event_action": "resolve" if resolves else "trigger",
        "dedup_key": f"dashboard-refresh/{run.identity}{'/test' if run.is_test else ''}",
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
