"""What an attempt reuses from earlier attempts."""

from dataclasses import replace
from pathlib import Path

import pytest

from refresh_runner.model.step_results import Node
from refresh_runner.runlog.queries import EarlierAttempts
from refresh_runner.runlog.resume import NO_RESUME, fingerprint_of, resume_state, reusable_nodes
from support.plans import plan

LAYERS = [[Node(id_, id_) for id_ in layer] for layer in ("s", "fg", "mn")]
FOUND = EarlierAttempts("same", False, ["s", "f"])


def test_work_is_kept_when_nothing_has_changed_and_nobody_else_was_there():
    """Run request, project, program and warehouse are unchanged."""
    assert resume_state(FOUND, "same").nodes == {"s", "f"}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, ""),
        (replace(FOUND, nodes=[]), ""),
        (replace(FOUND, fingerprint="other"), "has changed"),
        (replace(FOUND, fingerprint=None), "has changed"),
        (replace(FOUND, other_run_since=True), "another run"),
    ],
)
def test_work_is_not_kept_otherwise(found: EarlierAttempts | None, why: str):
    """If there was any, the log says why."""
    work = resume_state(found, "same")
    assert work.nodes == NO_RESUME.nodes
    assert why in work.restart_reason


def test_all_that_is_done_and_still_there_is_kept():
    """Layers need not be complete."""
    assert reusable_nodes(LAYERS, {"s", "f", "m"}, set()) == {"s", "f", "m"}


def test_a_table_that_is_gone_takes_its_layer_and_those_after_it_along():
    """Rebuilding it may drop what depends on it."""
    assert reusable_nodes(LAYERS, {"s", "f", "g", "m"}, {"f"}) == {"s"}
    assert reusable_nodes(LAYERS, {"s", "f", "m"}, {"m"}) == {"s", "f"}


def test_the_fingerprint_changes_with_the_run_request_the_date_and_the_project(tmp_path: Path):
    """But not with files that dbt writes into the project."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.sql").write_text("select 1")
    ours = plan()
    first = fingerprint_of(ours, tmp_path).value
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "manifest.json").write_text("{}")
    assert fingerprint_of(ours, tmp_path).value == first
    tomorrow = replace(ours, dbt=replace(ours.dbt, variables={"as_of": "2026-11-24"}))
    edited = replace(ours, run_request=ours.run_request.model_copy(update={"generation": 99}))
    found = {first, fingerprint_of(tomorrow, tmp_path).value, fingerprint_of(edited, tmp_path).value}
    (tmp_path / "models" / "a.sql").write_text("select 2")
    assert len(found | {fingerprint_of(ours, tmp_path).value}) == 4
