"""A scheduled run that stands on another refresh's data; on a real PostgreSQL."""

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


def test_a_scheduled_run_gives_way_unless_the_other_refresh_has_succeeded_of_late(runner: RunnerHarness, other: RunnerHarness):
    """Never, of late, long ago; a part of the other refresh does not count. The control: a requested run does not ask."""
    main = other.ref
    spec = runner.spec(after={"name": "main-pipeline", "within": "1h"})

    def ran(minute: int):
        runner.ref = RefreshRef(name="petit", namespace=main.namespace)
        done = runner.run(spec, 0, "refresh", **{RUN_ID_ENV: f"petit-{29_000_000 + minute}"})
        assert done.code == 0, done.output
        assert done.termination_message
        return done.termination_message.outcome, done.termination_message.reason, done.termination_message.message or ""

    never = ran(1)
    assert never[:2] == (Outcome.SKIPPED, Reason.DEPENDENCY_STALE)
    assert "main-pipeline has never succeeded" in never[2]
    runner.ref = main
    assert runner.run(mode="only=staging").code == 0
    assert ran(2)[:2] == (Outcome.SKIPPED, Reason.DEPENDENCY_STALE)
    runner.ref = main
    assert runner.run().code == 0
    assert ran(3)[0] is Outcome.SUCCEEDED
    runner.database.run("update dbt_refresh_run set ended_at = ended_at - interval '61 minutes' where refresh = 'main-pipeline'")
    late = ran(4)
    assert late[:2] == (Outcome.SKIPPED, Reason.DEPENDENCY_STALE)
    assert "main-pipeline last succeeded at 20" in late[2]
    requested = runner.run(spec)
    assert requested.termination_message
    assert requested.termination_message.outcome is Outcome.SUCCEEDED
