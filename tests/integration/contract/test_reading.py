"""Output of kubectl: columns, explain, short name."""

import json
import re

import pytest

from refresh_api.spec import RefreshSpec
from refresh_api.status import FinishedRun, OperatorStatus, RefreshStatus
from support.snapshots import minutes_from_now, sample_spec

NAME = "phase2-dashboards-refresh"


@pytest.fixture(scope="module")
def shown(contract, api):
    """A refresh with the sample's name and a long history, in its own namespace."""
    namespace = "reading"
    api.create("", "namespaces", {"metadata": {"name": namespace}})
    whole = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": NAME}, "spec": sample_spec()}
    api.create(namespace, "dashboardrefreshes", whole)
    run = FinishedRun.model_validate(
        {
            "id": f"{NAME}-29000000",
            "trigger": "Scheduled",
            "outcome": "Succeeded",
            "reason": "Succeeded",
            "marts": "4/4",
            "completionTime": minutes_from_now(0),
            "duration": "1h05m",
        }
    )
    fresh = {"type": "DataFresh", "status": "False", "reason": "NeverLoaded", "lastTransitionTime": minutes_from_now(0)}
    seen = {"phase": "Suspended", "next": "2026-12-01", "lastRun": run, "history": [run], "message": "fine", "conditions": [fresh]}
    share = OperatorStatus.model_validate(seen)
    status = share.model_dump(mode="json", by_alias=True, exclude_none=True)
    api.apply_status(namespace, NAME, {**whole, "spec": None, "status": status} | {"metadata": {"name": NAME}}, "refresh-operator")
    return contract.within(namespace)


def test_get_answers_everything_in_a_hundred_columns(shown):
    """With the longest usual values of the columns."""
    head, line = shown("get", "dashboardrefresh").splitlines()
    assert head.split() == ["NAME", "RESULT", "MARTS", "LAST-RUN", "DURATION", "NEXT", "PHASE", "FRESH"]
    assert {"Succeeded", "4/4", "1h05m", "2026-12-01", "Suspended", "False"} <= set(line.split())
    assert max(len(head.rstrip()), len(line.rstrip())) <= 100


def test_wide_adds_what_one_looks_up_less_often(shown):
    """Age, step, schedule, zone, suspended, reason, message."""
    head = shown("get", "dr", "-o", "wide").splitlines()[0].split()
    assert head[8:] == ["AGE", "STEP", "SCHEDULE", "ZONE", "SUSPENDED", "REASON", "MESSAGE"]


def test_get_without_a_status_shows_empty_columns(shown):
    """Right after kubectl apply, before the operator has reconciled it."""
    bare = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "bare"}, "spec": sample_spec()}
    shown.apply(json.dumps(bare))
    assert "<invalid>" not in shown("get", "dr", "bare")


@pytest.mark.parametrize("path", ["spec", "spec.layers", "spec.validation.marts", "spec.notifications.slack", "status", "status.run.steps"])
def test_explain_describes_every_field(contract, path):
    """No field lacks a description."""
    text = contract("explain", f"dashboardrefresh.{path}")
    fields = re.findall(r"^  (\w[\w-]*)\t", text, re.MULTILINE)
    assert fields
    assert "<no description>" not in text


def test_explain_knows_the_fields_of_the_models(contract):
    """The served CRD is the one generated from the models."""
    for part, model in (("spec", RefreshSpec), ("status", RefreshStatus)):
        text = contract("explain", f"dashboardrefresh.{part}")
        for name, info in model.model_fields.items():
            assert f"  {info.alias or name}\t" in text
