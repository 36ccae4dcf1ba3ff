"""Fuzzing: for any refresh, Job, pod and CronJob the operator decides, or raises Unreadable, within a time limit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.strategies import GOOD, JOB, KEPT, POD, changed, hostile, refreshes, within
from refresh_api.objects import UNREADABLE, object_of, unreadable
from refresh_api.status import OperatorStatus
from refresh_operator.code_policy import CodeRules
from refresh_operator.errors import Unreadable
from refresh_operator.kube.resources import REFRESHES
from refresh_operator.kube.store import Store
from refresh_operator.observability.metrics import render
from refresh_operator.reconcile.decision import decide
from refresh_operator.state.kube_types import Job, Pod, parse_object
from refresh_operator.state.refresh import InvalidSpec, parse_refresh
from refresh_operator.state.snapshot import Snapshot
from support.snapshots import NOW, SETTINGS

ALLOWING = replace(SETTINGS, code_rules=CodeRules(images=("*",), urls=("https://*/*", "ssh://*/*")))
"""Settings with which the operator starts whatever a refresh names."""


def test_the_control_a_good_refresh_is_scheduled() -> None:
    """What is changed below is fine as it is: its run is under way."""
    seen = parse_refresh(GOOD)
    assert not isinstance(seen.spec, InvalidSpec), seen.spec
    share = decide(Snapshot(seen, KEPT, (parse_object(Job, JOB),), pods=(parse_object(Pod, POD),)), SETTINGS, NOW).status
    assert share
    assert share.observed_generation == 3


@given(refreshes, changed(JOB), changed(POD), changed(KEPT, 2))
def test_it_decides_whatever_it_sees(refresh: Any, job: Any, pod: Any, objects: Any) -> None:
    """The share that it would write is one that it reads again, of a size that Kubernetes takes."""
    with within(3):
        mirror = Store()
        if mirror.put(REFRESHES, object_of(json.dumps(refresh).encode())) is None:
            return
        ref = next(mirror.refreshes())
        seen = parse_refresh(mirror.get(REFRESHES, ref.namespace, ref.name) or {})
        try:
            jobs, pods = (parse_object(Job, job),), (parse_object(Pod, pod),)
            there = {kind: item for kind, item in objects.items() if isinstance(item, dict)} if isinstance(objects, dict) else {}
            decision = decide(Snapshot(seen, there, jobs, pods=pods), ALLOWING, NOW)
        except Unreadable:
            decision = decide(Snapshot(seen), ALLOWING, NOW)
        render([seen], NOW)
        share = decision.status or seen.status
        written = share.model_dump_json(by_alias=True, exclude_none=True)
        assert OperatorStatus.model_validate_json(written)
        assert len(written) < 200_000
        assert decision.requeue_after.total_seconds() >= 0


@given(st.integers(190, 400), st.sampled_from(("list", "object")))
def test_what_is_nested_too_deeply_is_isolated(levels: Any, kind: Any) -> None:
    """Wherever it stands: the rest is read."""
    text = json.dumps({**GOOD, "spec": {"dbt": {"vars": {"deep": "DEEP"}}}})
    opening, closing = ("[", "]") if kind == "list" else ('{"a":', "}")
    found = object_of(text.replace('"DEEP"', opening * levels + "1" + closing * levels).encode())
    assert found["metadata"] == GOOD["metadata"]
    assert (UNREADABLE in found) == bool(unreadable(found))
    assert isinstance(parse_refresh(found).spec, InvalidSpec)


@given(st.dictionaries(st.sampled_from(("requestedAt", "cancel", "resetAt", "runMode", "runVars")), hostile | st.text(max_size=3000)))
def test_it_answers_whatever_is_asked_of_it(annotations: Any) -> None:
    """By annotations, which are texts."""
    asked = {f"dashboards.sigeti.io/{name}": str(value) for name, value in annotations.items()}
    metadata = {**GOOD["metadata"], "annotations": asked}
    for jobs in ((), (parse_object(Job, JOB),)):
        decision = decide(Snapshot(parse_refresh({**GOOD, "metadata": metadata}), KEPT, jobs), SETTINGS, NOW)
        assert decision.status is None or len(decision.status.model_dump_json()) < 100_000
