"""`refresh-runner plan`: what a run would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from refresh_api.run_request import ExitCode
from support.plan_command import plan_of
from support.runner_harness import RunnerHarness, hold_advisory_lock


def planned(
    runner: RunnerHarness,
    place: Path,
    mode: str | None = None,
    asked: bool = True,
    variables: tuple[str, ...] = (),
    secrets: Path | None = None,
    **changes: object,
) -> tuple[int, str]:
    """Return the exit code and the lines of a plan for a file."""
    return plan_of(runner, runner.spec(**changes), place, mode, asked=asked, variables=variables, secrets=secrets)


def test_a_plan_says_what_each_step_would_do_and_touches_nothing(runner: RunnerHarness, tmp_path: Path) -> None:
    """Models, tests, endpoints, marts and how they are published. The warehouse has no new relation afterwards."""
    relations = "select count(*) from pg_class"
    before = runner.database.rows(relations)
    code, said = planned(runner, tmp_path)
    assert code is ExitCode.OK
    for line in (
        "1/6 staging      builds stg_lignes",
        "4/6 tests        runs 3 tests; a failed test is a warning",
        "5/6 validation   dwh_marts.mart_a: published with the other marts after validation; warns if zone, mois is NULL in 10",
        "6/6 cache        calls 2 endpoints of",
        "no run holds it now",
        "live             nothing is published yet",
    ):
        assert line in said
    assert runner.database.rows(relations) == before


def test_a_plan_says_what_is_done_for_the_readers_of_standbys(runner: RunnerHarness, tmp_path: Path) -> None:
    """There is no such line if there are no standbys and none are declared."""
    assert "standbys" not in planned(runner, tmp_path)[1]
    cache = {"baseURL": runner.api, "endpoints": ["/a"], "waitForReplicas": "90s"}
    said = planned(runner, tmp_path, vacuum="Deferred", cache=cache)[1]
    assert "kept until the run ends, and vacuumed before the next publish (vacuum: Deferred)" in said
    assert "at most 30s each; first waits up to 1m30s for standbys" in said


def test_a_plan_says_what_is_live_who_is_at_work_and_what_a_mode_leaves_out(runner: RunnerHarness, tmp_path: Path) -> None:
    """The plan shows the state at that moment."""
    runner.run()
    with hold_advisory_lock(runner, "autre-run"):
        _, said = planned(runner, tmp_path, mode="from=marts")
    assert "autre-run holds it now" in said
    assert f"the data of petit-{runner.run_count}, since" in said
    assert "2/6 facts        left out by the run's mode from=marts" in said


def test_a_plan_says_that_a_scheduled_run_may_leave_all_as_it_is(runner: RunnerHarness, tmp_path: Path) -> None:
    """Only if the refresh has unchangedPolicy: Skip or Reuse. The control is a refresh without it."""
    assert "unchanged        a scheduled run builds nothing if nothing has changed" in planned(runner, tmp_path, unchangedPolicy="Skip")[1]
    assert "unchanged        each model, seed and test is reused" in planned(runner, tmp_path, unchangedPolicy="Reuse")[1]
    assert "unchanged" not in planned(runner, tmp_path)[1]


def test_a_plan_for_a_model_that_needs_another_refresh_says_so(runner: RunnerHarness, tmp_path: Path) -> None:
    """It also says whether the needed relation exists."""
    _, said = planned(runner, tmp_path, layers=[{"name": "facts", "select": ["fait_autres"]}], validation=None, tests=None)
    assert "fait_autres reads dwh_staging.stg_autres, built by main; MISSING: the run would fail" in said


def test_a_plan_for_some_models_names_them_and_the_variables(runner: RunnerHarness, tmp_path: Path) -> None:
    """A layer without any of the models is left out. Marts that are not built are validated in the live schema."""
    code, said = planned(runner, tmp_path, mode="select=mart_a", variables=("as_of=2026-01-31", "zone=5"))
    assert code is ExitCode.OK
    for line in (
        "variables        for this run only: as_of='2026-01-31', zone=5",
        "2/6 facts        left out by the run's mode select=mart_a, which selects none of its models",
        "3/6 marts        builds mart_a;",
        "mart_a reads dwh_facts.fait_lignes; MISSING: the run would fail",
        "dwh_marts.mart_b: not built by this run, validated in place",
    ):
        assert line in said
    code, said = planned(runner, tmp_path, mode="select=stg_autres")
    assert (code, "selects no model that a layer of petit builds" in said) == (ExitCode.FAILED, True)
    code, said = planned(runner, tmp_path, variables=("zone",))
    assert (code, "'zone': write NAME=VALUE" in said) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(("mode", "why"), [("only=nulle", "no step is named 'nulle'"), ("vite", "is not a run mode")])
def test_a_mode_that_cannot_be_is_refused(runner: RunnerHarness, tmp_path: Path, mode: str, why: str) -> None:
    """The error lists the valid modes."""
    code, said = planned(runner, tmp_path, mode=mode)
    assert code is ExitCode.USAGE
    assert why in said


def test_without_a_warehouse_the_rest_is_said(runner: RunnerHarness, tmp_path: Path) -> None:
    """The warehouse is not queried, and the plan says how to connect to it, and that it cannot say what would be reused."""
    code, said = planned(runner, tmp_path, asked=False, unchangedPolicy="Reuse")
    assert code is ExitCode.OK
    assert "not connected to the warehouse: set PGUSER" in said
    assert "unchanged        which ones is unknown: not connected to the warehouse, which has the earlier results" in said


def test_secrets_that_are_given_must_be_there(runner: RunnerHarness, tmp_path: Path) -> None:
    """Otherwise a plan without a connection would look like one without problems. The control is the folder with the Secrets."""
    code, said = planned(runner, tmp_path, secrets=tmp_path / "nowhere")
    assert (code, "does not exist" in said) == (ExitCode.USAGE, True)
    (tmp_path / "secrets").mkdir()
    assert planned(runner, tmp_path, secrets=tmp_path / "secrets") == (ExitCode.USAGE, "✗ the Secret 'warehouse' does not exist\n")
    (tmp_path / "secrets" / "warehouse").mkdir()
    for key, value in runner.secrets["warehouse"].items():
        (tmp_path / "secrets" / "warehouse" / key).write_text(value)
    code, said = planned(runner, tmp_path, secrets=tmp_path / "secrets")
    assert (code, "no run holds it now" in said) == (ExitCode.OK, True)
