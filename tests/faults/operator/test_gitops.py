"""Argo CD and Flux see the state of a refresh, and find nothing to correct, on a real API server with a real run."""

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import lupa.lua51
import pytest

from cluster.embedded.binaries import Program, build
from cluster.paths import paths_of
from support.operator_harness import REFRESHES, OperatorHarness
from support.snapshots import ROOT

Json = dict[str, Any]
KSTATUS = Program("kstatus", Path(__file__).with_name("kstatus"), ".", "seconds")
HEALTH = ROOT / "deploy/argocd/health.yaml"
EXPECTED = {
    # by phase: the status of kstatus, by which Flux waits, and the health in Argo CD
    "created": ("InProgress", "Progressing"),
    "scheduled": ("Current", "Healthy"),
    "running": ("Current", "Healthy"),
    "succeeded": ("Current", "Healthy"),
    "failed": ("Current", "Healthy"),
    "suspended": ("Current", "Healthy"),
    "blocked": ("InProgress", "Progressing"),
    "stalled": ("Failed", "Degraded"),
    "edited": ("InProgress", "Progressing"),
}


@pytest.fixture(scope="module")
def phases(create_operator) -> dict[str, Json]:
    """One refresh in each phase, as the API server returns it."""
    operator: OperatorHarness = create_operator()
    operator.create_refresh("phases")
    seen = {"created": operator.get_refresh("phases")}

    def reached(name: str, phase: str) -> None:
        generation = operator.get_refresh("phases")["metadata"]["generation"]

        def there() -> bool:
            status = operator.status("phases")
            return (status.get("phase"), status["observedGeneration"]) == (phase, generation)

        operator.wait_for(there, 20, "phases")
        seen[name] = operator.get_refresh("phases")

    operator.start()
    reached("scheduled", "Scheduled")
    for name, code, report in (("succeeded", 0, {}), ("failed", 1, {"outcome": "Failed", "reason": "LayerFailed", "message": "no table"})):
        operator.request_run("phases", name)
        job = operator.wait_for_job("phases")
        operator.set_pod_status(job, "Running", {"running": {}})
        operator.report_run("phases", job, phase="Running", completionTime=None, outcome=None, reason=None, marts=None)
        reached("running", "Running")
        operator.report_run("phases", job, **report)
        operator.end_pod(job, code)
        operator.wait_for_history("phases", job)
        reached(name, "Scheduled")
    operator.patch_spec("phases", suspend=True)
    reached("suspended", "Suspended")
    operator.patch_spec("phases", suspend=False, warehouse={"secretRef": {"name": "missing"}})
    reached("blocked", "Blocked")
    operator.patch_spec("phases", warehouse={"secretRef": {"name": "warehouse"}}, dbt={"vars": {"a": 2**63}})
    reached("stalled", "Stalled")
    operator.patch_spec("phases", dbt={"vars": {"a": 1}})
    reached("again", "Scheduled")
    operator.stop()
    operator.patch_spec("phases", displayName="Edited")
    seen["edited"] = operator.get_refresh("phases")
    del seen["again"]
    return seen


def test_kstatus_gives_the_status_of_each_phase(phases):
    """Flux waits by this status. The control: without its default status, a new refresh would be Current."""
    without = copy.deepcopy(phases["created"])
    assert without.pop("status")["observedGeneration"] == -1
    program = build(KSTATUS, paths_of(os.environ).cache)
    asked = "\n".join(json.dumps(each) for each in [*phases.values(), without])
    answers = subprocess.run([program], input=asked, text=True, capture_output=True, check=True, timeout=60).stdout.splitlines()
    words = [answer.split("\t")[0] for answer in answers]
    assert dict(zip(phases, words, strict=False)) == {phase: status for phase, (status, _) in EXPECTED.items()}
    assert words[-1] == "Current"


def test_argo_cd_gives_the_health_of_each_phase(phases, contract):
    """By the Lua script in the ConfigMap, patched as the guide says. It uses no library of Lua, because Argo CD restricts these."""
    contract("create", "namespace", "argocd")
    argocd = contract.within("argocd")
    argocd("create", "configmap", "argocd-cm", "--from-literal=url=https://argocd.example.org")
    argocd("patch", "configmap", "argocd-cm", "--patch-file", str(HEALTH))
    content = argocd.json("configmap", "argocd-cm")["data"]
    script = content["resource.customizations.health.dashboards.sigeti.io_DashboardRefresh"]
    assert len(content) == 2
    health = {phase: health_of(script, refresh) for phase, refresh in phases.items()}
    assert {phase: status for phase, (status, _) in health.items()} == {phase: status for phase, (_, status) in EXPECTED.items()}
    messages = {phase: message for phase, (_, message) in health.items()}
    assert messages["stalled"].startswith("spec.dbt.vars: ")
    assert "missing" in messages["blocked"]
    assert "LayerFailed" in messages["failed"]
    assert messages["scheduled"].startswith("next run: ")


def health_of(script: str, refresh: Json) -> tuple[str, str]:
    """Run a script as Argo CD does: with Lua 5.1, and the object as the global `obj`."""
    lua = lupa.lua51.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(json.loads(json.dumps(refresh), parse_int=float), recursive=True)
    for name in ("os", "io", "require", "package", "string", "debug"):
        lua.globals()[name] = None
    answer = lua.execute(script)
    return answer.status, answer.message


def test_gitops_finds_no_drift_after_operator_and_runner_have_written(create_operator, tmp_path):
    """A tool that applies the same manifests again changes nothing, so it never conflicts with the operator. The control is an edit."""
    operator: OperatorHarness = create_operator()
    chart = [str(operator.helm), "template", "op", str(ROOT / "deploy/helm"), "--include-crds", "-n", operator.namespace]
    chart += ["--set", "refreshes.main.enabled=true,refreshes.phase2.enabled=true,page.enabled=true,networkPolicy.enabled=true"]
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(subprocess.run(chart, capture_output=True, text=True, check=True, timeout=60).stdout)
    words = ("--server-side", "--force-conflicts", "-f", str(manifests))
    managers = ("argocd-controller", "kustomize-controller")
    for manager in managers:
        operator.kubectl("apply", f"--field-manager={manager}", *words)
    operator.start()
    name = "phase2-dashboards-refresh"
    for each in (name, "main-pipeline"):
        operator.wait_until_ready(each)
    operator.request_run(name, "one")
    job = operator.wait_for_job(name)
    operator.report_run(name, job)
    operator.end_pod(job)
    operator.wait_for_history(name, job)

    def version() -> str:
        return str(operator.get_refresh(name)["metadata"]["resourceVersion"])

    before = version()
    for manager in managers:
        done = operator.kubectl.attempt("diff", f"--field-manager={manager}", *words)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
        operator.kubectl("apply", f"--field-manager={manager}", *words)
    assert operator.kubectl.attempt("diff", "-f", str(manifests)).stdout == ""
    assert version() == before
    operator.api.patch(operator.namespace, REFRESHES, name, {"spec": {"timeZone": "Europe/Paris"}})
    done = operator.kubectl.attempt("diff", f"--field-manager={managers[0]}", *words)
    assert done.returncode == 1
    assert "-  timeZone: Europe/Paris" in done.stdout
