"""Previews in tests of the operator: a user who creates them, and their pods, as a kubelet and a runner would act."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from refresh_api.model import time_text
from support.operator_harness import WAREHOUSE, OperatorHarness

Json = dict[str, Any]
PREVIEWS = "refreshpreviews"
URL = "https://git.example.org/data/velos.git"
PREVIEW_SECRET = {**WAREHOUSE, "user": "preview", "password": "another"}
PREVIEWABLE: Json = {
    "project": {"git": {"url": URL, "ref": {"branch": "main"}, "secretRef": {"name": "repository"}}},
    "preview": {"warehouse": {"secretRef": {"name": "warehouse-preview"}}},
}
"""Fields of a spec whose refresh can be previewed."""
LIVE = "main@sha1:" + "6e27e9a9" * 5
CHANGE = "fix@sha1:" + "0badcafe" * 5


def previewable(operator: OperatorHarness, name: str, revision: str | None = LIVE, **changes: Any) -> None:
    """Create a refresh with a Secret for its previews; with a revision, one of its runs has published that."""
    if operator.api.get(operator.namespace, "secrets", "warehouse-preview") is None:
        operator.create_secret("warehouse-preview", PREVIEW_SECRET)
    operator.create_refresh(name, token="one" if revision else None, **{**PREVIEWABLE, **changes})
    if revision:
        job = operator.wait_for_job(name)
        operator.report_run(name, job, project={"url": URL, "path": ".", "revision": revision})
        operator.end_pod(job, 0)
        operator.wait_for(lambda: operator.status(name).get("liveRevision") == revision, 30, name)


def preview_body(name: str, refresh: str, **spec: Any) -> Json:
    """Return a RefreshPreview of the branch fix."""
    return {
        "apiVersion": "dashboards.sigeti.io/v1alpha1",
        "kind": "RefreshPreview",
        "metadata": {"name": name},
        "spec": {"refresh": refresh, "ref": {"branch": "fix"}, **spec},
    }


def create_preview(operator: OperatorHarness, name: str, refresh: str, **spec: Any) -> Json:
    """Create a preview of the branch fix, as a user does."""
    return operator.api.create(operator.namespace, PREVIEWS, preview_body(name, refresh, **spec))


def status_of(operator: OperatorHarness, name: str) -> Json:
    """Return a preview's status; empty before the first, or if it is deleted."""
    return dict((operator.api.get(operator.namespace, PREVIEWS, name) or {}).get("status", {}))


def wait_for_state(operator: OperatorHarness, name: str, *states: str) -> Json:
    """Wait until a preview is in one of these states; return its status."""

    def reached() -> Json | None:
        status = status_of(operator, name)
        return status if status.get("state") in states else None

    return dict(operator.wait_for(reached, 30))


def report(operator: OperatorHarness, name: str, **status: Any) -> None:
    """Act as a preview's runner: write its part of the status."""
    body = {
        "apiVersion": "dashboards.sigeti.io/v1alpha1",
        "kind": "RefreshPreview",
        "metadata": {"name": name, "namespace": operator.namespace},
        "status": status,
    }
    operator.api.apply_status(operator.namespace, name, body, "refresh-runner", PREVIEWS)


def report_differences(operator: OperatorHarness, name: str, **status: Any) -> None:
    """Act as a preview's runner that has found two changed rows."""
    now = time_text(datetime.now(UTC))
    mart = {"relation": "marts.a", "key": ["id"], "rowsBefore": 9, "rowsAfter": 9, "added": 0, "removed": 0, "changed": 2}
    found = {
        "state": "Differs",
        "message": "marts.a: 2 changed",
        "summary": "marts.a: 2 changed",
        "completionTime": now,
        "conditions": [
            {
                "type": "Complete",
                "status": "True",
                "reason": "Compared",
                "message": "marts.a: 2 changed",
                "lastTransitionTime": now,
                "observedGeneration": 1,
            }
        ],
        "revision": CHANGE,
        "shortRevision": "fix@0badcafe",
        "differences": ["Changed"],
        "unexpected": ["Changed"],
        "report": {"marts": [mart], "models": [{"name": "a", "milliseconds": 1200}], "tests": 2},
    }
    report(operator, name, **{**found, **status})
