"""States of a cluster as the operator sees them, for tests: JSON as the API server sends it, so that the parsing is tested too."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from refresh_api.names import GENERATION_ANNOTATION, REFRESH_LABEL, REQUESTED_AT, TOKEN_ANNOTATION, UID_ANNOTATION
from refresh_api.status import OperatorStatus
from refresh_operator.reconcile.decision import decide
from refresh_operator.settings import Settings
from refresh_operator.specs.cronjob import managed_objects
from refresh_operator.state.kube_types import Job, Pod
from refresh_operator.state.refresh import InvalidSpec, Refresh, parse_refresh
from refresh_operator.state.snapshot import Snapshot

NOW = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
"""A Tuesday."""
UID = "0e5f1c1a-0000-4000-8000-000000000001"
SETTINGS = Settings(namespaces=("default",), runner_image="refresh-runner:1")
ROOT = Path(__file__).resolve().parents[2]

Json = dict[str, Any]


def at(minutes: float) -> str:
    """A moment, `minutes` after NOW, as the API server writes it."""
    return (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sample_spec(**changes: Any) -> Json:
    """The spec of the phase 2 sample without an objective of freshness, with changes."""
    return {**copy.deepcopy(_sample()), **changes}


@cache
def _sample() -> Json:
    spec: Json = yaml.safe_load((ROOT / "deploy/samples/phase2.yaml").read_text())["spec"]
    # what it means is for the tests of freshness to say
    spec.pop("freshness")
    return spec


def refresh(
    status: OperatorStatus | None = None,
    run: Json | None = None,
    token: str | None = None,
    generation: int = 1,
    annotations: dict[str, str] | None = None,
    **changes: Any,
) -> Refresh:
    """A refresh named `phase2`; `status` is what the operator wrote last, `run` what the runner wrote."""
    written: Json = status.model_dump(mode="json", by_alias=True, exclude_none=True) if status else {}
    if run:
        written["run"] = run
    metadata: Json = {
        "name": "phase2",
        "namespace": "default",
        "uid": UID,
        "generation": generation,
        "creationTimestamp": at(-600),
        "annotations": {**({REQUESTED_AT: token} if token else {}), **(annotations or {})},
    }
    return parse_refresh({"metadata": metadata, "spec": sample_spec(**changes), "status": written})


def kept(of: Refresh) -> Any:
    """The objects of a refresh as the operator made them."""
    assert not isinstance(of.spec, InvalidSpec)
    objects: dict[str, Json] = {str(item["kind"]): item for item in managed_objects(of, of.spec, SETTINGS, suspended=of.spec.suspend)}
    for item in objects.values():
        metadata: Any = item["metadata"]
        metadata |= {"uid": f"uid-of-{item['kind']}", "resourceVersion": "7", "creationTimestamp": at(-600)}
    return objects


def job(name: str, end: str | None = None, minutes: float = -10, token: str | None = None, by_kubectl: bool = False, **ending: Any) -> Job:
    """A Job that was made at `minutes` and, where `end` is Complete or Failed, ended five minutes later."""
    annotations = {UID_ANNOTATION: UID, GENERATION_ANNOTATION: "1"}
    if token:
        annotations[TOKEN_ANNOTATION] = token
    if by_kubectl:
        annotations["cronjob.kubernetes.io/instantiate"] = "manual"
    conditions = [{"type": end, "status": "True", "lastTransitionTime": at(minutes + 5), **ending}] if end else []
    return Job.model_validate(
        {
            "metadata": {"name": name, "creationTimestamp": at(minutes), "annotations": annotations, "labels": {REFRESH_LABEL: "phase2"}},
            "status": {"startTime": at(minutes), "conditions": conditions},
        }
    )


def pod(of: str, minutes: float = -10, phase: str = "Pending", **status: Any) -> Pod:
    """A pod of a Job; `terminated` and `waiting` are the state of its container."""
    states = {key: status.pop(key) for key in ("terminated", "waiting") if key in status}
    containers = [{"name": "runner", "state": states}] if states else []
    return Pod.model_validate(
        {
            "metadata": {
                "name": f"{of}-0-{abs(int(minutes))}",
                "creationTimestamp": at(minutes),
                "labels": {"batch.kubernetes.io/job-name": of},
            },
            "status": {"phase": phase, "containerStatuses": containers, **status},
        }
    )


def report(run: str, **changes: Any) -> Json:
    """What the runner writes into status.run at the end of a successful run."""
    return {
        "id": run,
        "generation": 1,
        "phase": "Finished",
        "attempt": 1,
        "attempts": 3,
        "startTime": at(-10),
        "heartbeatTime": at(-6),
        "completionTime": at(-6),
        "outcome": "Succeeded",
        "reason": "Succeeded",
        "marts": "4/4",
        **changes,
    }


def world(of: Refresh, jobs: tuple[Job, ...] = (), pods: tuple[Pod, ...] = (), **changes: Any) -> Snapshot:
    """Everything in place, besides the changes."""
    return Snapshot(
        **{"refresh": of, "objects": {} if isinstance(of.spec, InvalidSpec) else kept(of), "jobs": jobs, "pods": pods, **changes}
    )


def decided(seen: Snapshot, now: datetime = NOW) -> Any:
    """The Decision; Any, since tests look deep into its JSON."""
    return decide(seen, SETTINGS, now)


def settled(seen: Snapshot, now: datetime = NOW) -> Any:
    """The share that it comes to, written or not."""
    return decided(seen, now).status or seen.refresh.status


def condition(share: OperatorStatus, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of one condition."""
    found = next(each for each in share.conditions if each.type == kind)
    return found.status.value, found.reason, found.message
