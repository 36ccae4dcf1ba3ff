"""The metrics for Prometheus."""

import re

from prometheus_client.parser import text_string_to_metric_families

from refresh_api.status import OperatorStatus
from refresh_operator.names import Ref
from refresh_operator.observability.metrics import OperatorMetrics, render
from support.snapshots import NOW, build_job, build_refresh, build_run_status, build_snapshot, minutes_from_now, status_after


def figures(*seen):
    """Name and labels beside the refresh's own, and the value."""
    families = text_string_to_metric_families(render(seen, NOW))
    return {
        (sample.name.removeprefix("dashboardrefresh_"), sample.labels.get("step", "")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("refresh") == "phase2"
    }


def test_metrics_are_computed_from_the_status():
    """A restart of the operator must not change them."""
    share = OperatorStatus.model_validate({"observedGeneration": 1, "missedRunsEvaluatedUntil": minutes_from_now(0), "missedRuns": 3})
    after = status_after(build_snapshot(build_refresh(share, freshness={"maxStaleness": "4h"}), (build_job("r1", "Complete"),)))
    steps = [{"name": "marts", "state": "Succeeded", "duration": "1m05s"}, {"name": "cache", "state": "Succeeded", "duration": "0s"}]
    found = figures(build_refresh(after, run=build_run_status("r1", steps=steps), freshness={"maxStaleness": "4h"}))
    assert found["missed_runs_total", ""] == 3
    assert found["last_run_success", ""] == 1
    assert found["run_duration_seconds", ""] == 300
    assert found["staleness_seconds", ""] == 300
    assert found["max_staleness_seconds", ""] == 4 * 3600
    assert (found["step_duration_seconds", "marts"], found["step_duration_seconds", "cache"]) == (65, 0)


def test_models_and_tests_are_counted_by_result():
    """Each node counts once. A step without nodes has no numbers, nor has a run of an earlier version of the runner."""
    nodes = {"built": 3, "unchanged": 1, "reused": 7}
    text = render([build_refresh(run=build_run_status("r1", steps=[{"name": "marts", "nodes": nodes}, {"name": "cache"}]))], NOW)
    figures = dict(re.findall(r'dashboardrefresh_nodes{.*result="(\w+)",step="marts"} (\S+)', text))
    assert figures == {"built": "2.0", "unchanged": "1.0", "reused": "7.0"}
    assert 'step="cache"' not in text


def test_a_value_that_does_not_exist_has_no_metric():
    """Zero would mean a success in 1970."""
    found = figures(build_refresh(status_after(build_snapshot(build_refresh()))))
    assert not {("last_success_timestamp_seconds", ""), ("last_run_success", ""), ("staleness_seconds", "")} & found.keys()
    assert found["ready", ""] == 1


def test_the_revision_of_the_project_is_a_label():
    """That of the current run, or else of the last; none for a project in the image."""
    project = {"url": "https://git.example.org/x", "path": ".", "revision": "main@sha1:" + "a" * 40}
    current, last = (f"main@sha1:{letter * 40}" for letter in "ab")
    before = status_after(
        build_snapshot(build_refresh(run=build_run_status("r1", project={**project, "revision": last})), (build_job("r1", "Complete"),))
    )
    figure = 'dashboardrefresh_project_info{{namespace="default",refresh="phase2",revision="{}"}} 1.0'
    started = build_run_status("r2", phase="Running", outcome=None, reason=None, completionTime=None)
    assert figure.format(current) in render([build_refresh(before, run={**started, "project": project})], NOW)
    assert figure.format(last) in render([build_refresh(before, run=started)], NOW)
    assert "dashboardrefresh_project_info{" not in render([build_refresh(run=started)], NOW)


def test_a_standby_operator_is_visible_in_the_metrics():
    """An alert must distinguish it from a missing operator."""
    assert "dashboardrefresh_operator_works 1.0" in render([], NOW)
    assert "dashboardrefresh_operator_works 0.0" in render([], NOW, works=False)


def test_drift_is_counted_by_kind_until_the_refresh_is_deleted():
    """Series of deleted refreshes would grow without bound."""
    meters, ref = OperatorMetrics(), Ref("n", "r")
    with meters.time_reconcile():
        meters.count_drift(ref, "CronJob")
    meters.count_drift(ref, "CronJob")
    counted = 'dashboardrefresh_drift_corrections_total{kind="CronJob",namespace="n",refresh="r"} 2.0'
    assert counted in render([], NOW, metrics=meters)
    assert "dashboardrefresh_reconcile_duration_seconds_count 1.0" in render([], NOW, metrics=meters)
    meters.forget(ref)
    assert counted not in render([], NOW, metrics=meters)


def test_previews_are_counted_by_outcome_until_the_refresh_is_deleted():
    """With their durations, if they had a Job. Those that exist are counted by state, whenever the operator has started."""
    meters, ref = OperatorMetrics(), Ref("n", "r")
    meters.count_preview(ref, "Differs", 45)
    meters.count_preview(ref, "Failed", None)
    told = render([], NOW, metrics=meters, previews={("n", "r", "Differs"): 3})
    assert 'dashboardrefresh_finished_previews_total{namespace="n",outcome="Differs",refresh="r"} 1.0' in told
    assert 'dashboardrefresh_finished_previews_total{namespace="n",outcome="Failed",refresh="r"} 1.0' in told
    assert 'dashboardrefresh_preview_duration_seconds_bucket{le="60.0",namespace="n",refresh="r"} 1.0' in told
    assert 'dashboardrefresh_preview_duration_seconds_count{namespace="n",refresh="r"} 1.0' in told
    assert 'dashboardrefresh_previews{namespace="n",refresh="r",state="Differs"} 3.0' in told
    meters.forget(ref)
    told = render([], NOW, metrics=meters)
    assert 'refresh="r"' not in told
    assert "# HELP dashboardrefresh_previews " in told
