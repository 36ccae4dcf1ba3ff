"""Builders of cluster states for tests of the operator's decisions: JSON as the API server sends it, so that parsing is tested too."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from refresh_api.names import GENERATION_ANNOTATION, REFRESH_LABEL, REQUEST_ANNOTATION, REQUESTED_AT, UID_ANNOTATION
from refresh_api.status import OperatorStatus
from refresh_operator.reconcile.decision import decide
from refresh_operator.settings import Settings
from refresh_operator.specs.cronjob import managed_objects
from refresh_operator.state.kube_types import Job, Pod
from refresh_operator.state.refresh import InvalidSpec, Refresh, parse_refresh
from refresh_operator.state.snapshot import Snapshot

NOW = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
"""The moment at which decisions are made: a Tuesday at noon, UTC."""
UID = "0e5f1c1a-0000-4000-8000-000000000001"
SETTINGS = Settings(namespaces=("default",), runner_image="refresh-runner:1")
ROOT = Path(__file__).resolve().parents[2]

Json = dict[str, Any]


def minutes_from_now(minutes: float) -> str:
    """Return the time `minutes` after NOW (before it if negative) as the API server writes it."""
    return (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sample_spec(**changes: Any) -> Json:
    """Return the spec of the phase 2 sample without `freshness`, with changes."""
    return {**copy.deepcopy(_sample()), **changes}


@cache
def _sample() -> Json:
    spec: Json = yaml.safe_load((ROOT / "deploy/samples/phase2.yaml").read_text())["spec"]
    # tests of freshness set it themselves
    spec.pop("freshness")
    return spec


def build_refresh(
    status: OperatorStatus | None = None,
    run: Json | None = None,
    token: str | None = None,
    generation: int = 1,
    annotations: dict[str, str] | None = None,
    **changes: Any,
) -> Refresh:
    """Build a refresh named `phase2`; `status` was written by the operator, `run` (`status.run`) by the runner; changes are spec fields."""
    written: Json = status.model_dump(mode="json", by_alias=True, exclude_none=True) if status else {}
    if run:
        written["run"] = run
    metadata: Json = {
        "name": "phase2",
        "namespace": "default",
        "uid": UID,
        "generation": generation,
        "creationTimestamp": minutes_from_now(-600),
        "annotations": {**({REQUESTED_AT: token} if token else {}), **(annotations or {})},
    }
    return parse_refresh({"metadata": metadata, "spec": sample_spec(**changes), "status": written})


def build_managed_objects(of: Refresh) -> Any:
    """Build the objects of a refresh as the operator creates them."""
    assert not isinstance(of.spec, InvalidSpec)
    objects: dict[str, Json] = {str(item["kind"]): item for item in managed_objects(of, of.spec, SETTINGS, suspended=of.spec.suspend)}
    for item in objects.values():
        metadata: Any = item["metadata"]
        metadata |= {"uid": f"uid-of-{item['kind']}", "resourceVersion": "7", "creationTimestamp": minutes_from_now(-600)}
    return objects


def build_job(
    name: str, end: str | None = None, minutes: float = -10, token: str | None = None, by_kubectl: bool = False, **ending: Any
) -> Job:
    """Build a Job created `minutes` after NOW; with `end` (Complete or Failed) it ended five minutes later."""
    annotations = {UID_ANNOTATION: UID, GENERATION_ANNOTATION: "1"}
    if token:
        annotations[REQUEST_ANNOTATION] = token
    if by_kubectl:
        annotations["cronjob.kubernetes.io/instantiate"] = "manual"
    conditions = [{"type": end, "status": "True", "lastTransitionTime": minutes_from_now(minutes + 5), **ending}] if end else []
    return Job.model_validate(
        {
            "metadata": {
                "name": name,
                "creationTimestamp": minutes_from_now(minutes),
                "annotations": annotations,
                "labels": {REFRESH_LABEL: "phase2"},
            },
            "status": {"startTime": minutes_from_now(minutes), "conditions": conditions},
        }
    )


def build_pod(of: str, minutes: float = -10, phase: str = "Pending", **status: Any) -> Pod:
    """Build a pod of the Job `of`; `terminated` and `waiting` set the state of its container."""
    states = {key: status.pop(key) for key in ("terminated", "waiting") if key in status}
    containers = [{"name": "runner", "state": states}] if states else []
    return Pod.model_validate(
        {
            "metadata": {
                "name": f"{of}-0-{abs(int(minutes))}",
                "creationTimestamp": minutes_from_now(minutes),
                "labels": {"batch.kubernetes.io/job-name": of},
            },
            "status": {"phase": phase, "containerStatuses": containers, **status},
        }
    )


def build_run_status(run: str, **changes: Any) -> Json:
    """Build `status.run` as the runner writes it at the end of a successful run."""
    return {
        "id": run,
        "generation": 1,
        "phase": "Finished",
        "attempt": 1,
        "attempts": 3,
        "startTime": minutes_from_now(-10),
        "heartbeatTime": minutes_from_now(-6),
        "completionTime": minutes_from_now(-6),
        "outcome": "Succeeded",
        "reason": "Succeeded",
        "marts": "4/4",
        **changes,
    }


def build_snapshot(of: Refresh, jobs: tuple[Job, ...] = (), pods: tuple[Pod, ...] = (), **changes: Any) -> Snapshot:
    """Build a snapshot of a refresh whose objects are all up to date, with changes."""
    return Snapshot(
        **{
            "refresh": of,
            "objects": {} if isinstance(of.spec, InvalidSpec) else build_managed_objects(of),
            "jobs": jobs,
            "pods": pods,
            **changes,
        }
    )


def decision_for(seen: Snapshot, now: datetime = NOW) -> Any:
    """Return the operator's decision on a snapshot; typed Any, since tests read deep into its JSON."""
    return decide(seen, SETTINGS, now)


def status_after(seen: Snapshot, now: datetime = NOW) -> Any:
    """Return the operator's status after a decision, whether it changes or not."""
    return decision_for(seen, now).status or seen.refresh.status


def condition_of(share: OperatorStatus, kind: str) -> tuple[str, str, str]:
    """Return status, reason and message of a condition."""
    found = next(each for each in share.conditions if each.type == kind)
    return found.status.value, found.reason, found.message
