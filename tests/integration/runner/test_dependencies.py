"""A scheduled run that depends on other refreshes; on a real PostgreSQL."""

from collections.abc import Iterator

import pytest

from refresh_api.names import RUN_ID_ENV
from refresh_api.run_request import RefreshRef
from refresh_api.status import Outcome, Reason
from support.runner_harness import RunnerHarness


@pytest.fixture
def other(runner: RunnerHarness) -> Iterator[RunnerHarness]:
    """Runs of another refresh on the same warehouse."""
    own, runner.ref = runner.ref, RefreshRef(name="main-pipeline", namespace=runner.ref.namespace)
    yield runner
    runner.ref = own


def test_a_scheduled_run_is_skipped_unless_every_dependency_has_succeeded_within_its_time(runner: RunnerHarness, other: RunnerHarness):
    """A dependency that never succeeded, or too long ago, would feed old data into new marts. A partial run of it does not count.

    The control: a requested run does not check dependencies.
    """
    main = other.ref
    spec = runner.spec(dependsOn=[{"name": "main-pipeline", "within": "1h"}, {"name": "geo", "within": "2h"}])

    def ran(minute: int):
        runner.ref = RefreshRef(name="petit", namespace=main.namespace)
        done = runner.run(spec, 0, "refresh", **{RUN_ID_ENV: f"petit-{29_000_000 + minute}"})
        assert done.code == 0, done.output
        assert done.termination_message
        return done.termination_message.outcome, done.termination_message.reason, done.termination_message.message or ""

    def run_dependency(name: str, mode: str = "refresh"):
        runner.ref = RefreshRef(name=name, namespace=main.namespace)
        assert runner.run(mode=mode).code == 0

    skipped = (Outcome.SKIPPED, Reason.DEPENDENCY_STALE)
    never = ran(1)
    assert never[:2] == skipped
    assert "main-pipeline has never succeeded; spec.dependsOn requires a success within 1h" in never[2]
    run_dependency("geo")
    run_dependency("main-pipeline", "only=staging")
    partial = ran(2)
    assert partial[:2] == skipped
    assert "main-pipeline has never succeeded" in partial[2]
    run_dependency("main-pipeline")
    assert ran(3)[0] is Outcome.SUCCEEDED
    runner.database.run("update dbt_refresh_run set ended_at = ended_at - interval '61 minutes' where refresh = 'main-pipeline'")
    late = ran(4)
    assert late[:2] == skipped
    assert "main-pipeline last succeeded at 20" in late[2]
    run_dependency("main-pipeline")
    runner.database.run("update dbt_refresh_run set ended_at = ended_at - interval '121 minutes' where refresh = 'geo'")
    second = ran(5)
    assert second[:2] == skipped
    assert "geo last succeeded at 20" in second[2]
    runner.ref = RefreshRef(name="petit", namespace=main.namespace)
    requested = runner.run(spec)
    assert requested.termination_message
    assert requested.termination_message.outcome is Outcome.SUCCEEDED


def test_a_dependency_of_another_namespace_is_the_refresh_of_that_namespace(runner: RunnerHarness, other: RunnerHarness):
    """A refresh of the same name in its own namespace, or in a third one, has other data."""
    main, core = other.ref, RefreshRef(name=other.ref.name, namespace="core")
    spec = runner.spec(dependsOn=[{"name": main.name, "namespace": "core"}])

    def ran(minute: int):
        runner.ref = RefreshRef(name="petit", namespace=main.namespace)
        done = runner.run(spec, 0, "refresh", **{RUN_ID_ENV: f"petit-{29_000_000 + minute}"})
        assert done.termination_message
        return done.termination_message.outcome, done.termination_message.message or ""

    for ref in (main, RefreshRef(name=main.name, namespace="third")):
        runner.ref = ref
        assert runner.run().code == 0
    outcome, message = ran(1)
    assert outcome is Outcome.SKIPPED
    assert message.startswith("core/main-pipeline has never succeeded; ")
    runner.ref = core
    assert runner.run().code == 0
    assert ran(2)[0] is Outcome.SUCCEEDED
