"""`make demo-change`: a model is changed and changed back, and the rows that differ are shown."""

import shutil
from pathlib import Path

import pytest

from demo_change import EXACT, MODEL, WHOLE, change, compared
from support.git_server import GitError
from support.installation import ROOT


def test_the_model_is_changed_and_changed_back(tmp_path):
    """The first version must be the one in the checkout, which the demo commits."""
    model = Path(shutil.copy(ROOT / MODEL, tmp_path / "model.sql"))
    original = model.read_text()
    assert change(model) == "Round the days until payment"
    assert model.read_text() == original.replace(EXACT, WHOLE) != original
    assert change(model) == "Show the days until payment exactly"
    assert model.read_text() == original


def test_a_model_with_neither_version_is_not_changed(tmp_path):
    """A change by hand must not be lost."""
    model = tmp_path / "model.sql"
    model.write_text("select 1 as delai_moyen_jours")
    with pytest.raises(GitError, match="run `make demo`"):
        change(model)
    assert model.read_text() == "select 1 as delai_moyen_jours"


def test_rows_that_differ_are_counted_and_the_newest_are_shown():
    """A row that is new has no value before."""
    before = {f"1 2026 {month}": "1.50" for month in range(12, 0, -1)}
    after = {"1 2027 1": "3.00", **before, **{f"1 2026 {month}": "2.00" for month in (12, 11, 10, 9, 8)}}
    lines = compared(before, after).splitlines()
    assert lines[0] == "6 of 13 rows changed, the newest are:"
    assert [line.split() for line in lines[2:4]] == [["1", "2027", "1", "3.00"], ["1", "2026", "12", "1.50", "2.00"]]
    assert len(lines) == 7
