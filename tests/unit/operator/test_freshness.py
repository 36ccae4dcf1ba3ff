"""The condition DataFresh, for the maximum age of the data."""

from datetime import timedelta

import pytest

from refresh_api.names import RUN_MODE
from refresh_api.notifications import NotifyWhen
from refresh_api.status import OperatorStatus
from support.snapshots import NOW, build_job, build_refresh, build_snapshot, condition_of, decision_for, minutes_from_now, status_after

OBJECTIVE = {"maxStaleness": "4h"}


def loaded(minutes: float | None, **fields) -> OperatorStatus:
    """A share whose last successful run ended at that time."""
    success = {} if minutes is None else {"lastSuccessTime": minutes_from_now(minutes)}
    return OperatorStatus.model_validate({"observedGeneration": 1, "missedRunsEvaluatedUntil": minutes_from_now(0), **success, **fields})


@pytest.mark.parametrize(
    ("minutes", "status", "reason"), [(-240, "True", "Fresh"), (-241, "False", "Stale"), (None, "False", "NeverLoaded")]
)
def test_data_is_fresh_up_to_exactly_the_maximum_age(minutes, status, reason):
    """The boundary belongs to the fresh side."""
    found = condition_of(status_after(build_snapshot(build_refresh(loaded(minutes), freshness=OBJECTIVE))), "DataFresh")
    assert found[:2] == (status, reason)
    assert found[2]


def test_without_maxstaleness_there_is_no_condition():
    """A condition from before is removed as well."""
    with_one = status_after(build_snapshot(build_refresh(loaded(-1), freshness=OBJECTIVE)))
    assert "DataFresh" not in [each.type for each in status_after(build_snapshot(build_refresh(with_one))).conditions]


def test_data_becomes_stale_by_time_alone_with_one_event():
    """Nothing else triggers a reconciliation, so the operator must requeue the refresh for it."""
    fresh = status_after(build_snapshot(build_refresh(loaded(-230), freshness=OBJECTIVE)))
    waiting = decision_for(build_snapshot(build_refresh(fresh, freshness=OBJECTIVE)))
    assert waiting.requeue_after <= timedelta(minutes=10, seconds=1)
    later = decision_for(build_snapshot(build_refresh(fresh, freshness=OBJECTIVE)), NOW + timedelta(minutes=11))
    assert "DataStale" in [note.reason for note in later.events]
    repeated = decision_for(build_snapshot(build_refresh(later.status, freshness=OBJECTIVE)), NOW + timedelta(minutes=11))
    assert (repeated.events, repeated.notifications) == ((), ())
    (notice,) = later.notifications
    (stale,) = [each for each in later.status.conditions if each.type == "DataFresh"]
    assert (notice.when, notice.about, waiting.notifications) == (NotifyWhen.STALE, stale, ())


@pytest.mark.parametrize(
    ("mode", "counts"), [("full-refresh", True), ("from=marts", True), ("only=tests", False), ("rollback", False), ("select=mart_a", False)]
)
def test_only_a_run_that_loads_data_makes_it_fresh(mode, counts):
    """A rollback succeeds, but makes no data younger."""
    done = build_job("phase2-a", "Complete", token="one")
    annotations = {**done.metadata.annotations, RUN_MODE: mode}
    done = done.model_copy(update={"metadata": done.metadata.model_copy(update={"annotations": annotations})})
    after = status_after(build_snapshot(build_refresh(loaded(-600), freshness=OBJECTIVE), (done,)))
    assert (condition_of(after, "DataFresh")[1] == "Fresh") is counts
