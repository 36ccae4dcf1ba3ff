"""Events for PagerDuty's Events API v2: a failed run, stale data or a missed run trigger an incident, and the end of it resolves it."""

from typing import Final

from pydantic import JsonValue

from refresh_api.channels import Severity
from refresh_api.notifications import NotifyWhen
from refresh_notify.message import Message

_KEYS: Final = {NotifyWhen.STALE: "/stale", NotifyWhen.MISSED: "/missed"}
"""Ends of the keys of incidents that no failed run has opened."""


def body(routing_key: str, severity: Severity, message: Message, *, resolves: bool) -> JsonValue:
    """Return the event. All failures of one refresh have one key, so that further ones open no further incidents.

    Stale data, missed runs and tests have keys of their own, so that they resolve no other incident.
    """
    run = message.run
    about = "/test" if run.is_test else _KEYS.get(run.when, "")
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
