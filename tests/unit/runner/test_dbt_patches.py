"""The patches of dbt: each declares what it expects of dbt. If dbt differs, the patch is off, or the run fails."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace

import pytest
from dbt.graph.selector import NodeSelector

from refresh_api.status import Reason
from refresh_runner.core.errors import RunFailedError
from refresh_runner.dbt.patches import patch as patches
from refresh_runner.dbt.patches import select_only, staging
from refresh_runner.dbt.patches.patch import SWITCH, Symbol
from refresh_runner.dbt.patches.registry import OPTIONAL, REQUIRED, REQUIRED_TO_SWAP, require_patches

EVERY = (*OPTIONAL, *REQUIRED, REQUIRED_TO_SWAP)
RENAMED = Symbol("dbt.graph.selector", "NodeSelector.get_chosen", "self, spec")


@pytest.fixture(autouse=True)
def _as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    patches._is_on.cache_clear()
    patches._mismatch.cache_clear()


_MISMATCHES = """
from refresh_runner.dbt.patches.registry import OPTIONAL, REQUIRED, REQUIRED_TO_SWAP
for patch in (*OPTIONAL, *REQUIRED, REQUIRED_TO_SWAP):
    for symbol in patch.symbols:
        if why := symbol.mismatch():
            print(patch.name, why)
"""


def test_each_patch_fits_the_installed_dbt() -> None:
    """A patch that does not fit is off, which only the duration of runs would show. Checked in a process without applied patches."""
    found = subprocess.run([sys.executable, "-c", _MISMATCHES], capture_output=True, text=True, check=True)
    assert found.stdout == ""


def test_each_patch_has_a_name_of_its_own_and_a_purpose() -> None:
    """REFRESH_DBT_PATCHES and the log use the name. An optional patch for speed states how much it saves."""
    assert len({patch.name for patch in EVERY}) == len(EVERY)
    assert all(patch.purpose.endswith(".") for patch in EVERY)
    assert all(not patch.required_for for patch in OPTIONAL)
    assert all(patch.required_for for patch in (*REQUIRED, REQUIRED_TO_SWAP))


@pytest.mark.parametrize(
    ("symbol", "why"),
    [
        (RENAMED, "dbt has no dbt.graph.selector.NodeSelector.get_chosen"),
        (Symbol("dbt.graph.chooser", "Chooser", ""), "dbt has no dbt.graph.chooser.Chooser"),
        (
            Symbol("dbt.graph.selector", "NodeSelector.get_selected", "self, spec"),
            "dbt.graph.selector.NodeSelector.get_selected takes (self, spec, warn_on_no_nodes), expected (self, spec)",
        ),
        (
            Symbol("dbt.plugins.manager", "PluginManager.get_prefixed_modules", "cls"),
            "dbt.plugins.manager.PluginManager.get_prefixed_modules is a classmethod, expected a plain function",
        ),
    ],
)
def test_a_symbol_that_differs_is_named(symbol: Symbol, why: str) -> None:
    """A maintainer who upgrades dbt sees only this line."""
    assert symbol.mismatch() == why


def test_an_optional_patch_that_does_not_fit_is_off_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """It is checked for each command, but logged once."""
    unfit = replace(select_only.PATCH, symbols=(RENAMED,))
    with caplog.at_level(logging.WARNING):
        assert [unfit.is_on for _ in range(3)] == [False] * 3
    (line,) = caplog.messages
    assert line.startswith("dbt patch select_only is off with dbt-core 1.")
    assert line.endswith("dbt has no dbt.graph.selector.NodeSelector.get_chosen")


def test_a_patch_that_is_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt then uses the command's --select."""
    monkeypatch.setattr(select_only, "PATCH", replace(select_only.PATCH, symbols=(RENAMED,)))
    before = NodeSelector.get_selected
    with select_only.select_only(["model.a.b"]):
        assert NodeSelector.get_selected is before


def test_a_required_patch_that_does_not_fit_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without timeouts a statement could run forever, so nothing is built."""
    unfit = replace(REQUIRED[0], symbols=(RENAMED,))
    monkeypatch.setattr("refresh_runner.dbt.patches.registry.REQUIRED", (unfit,))
    with pytest.raises(
        RunFailedError, match=r"a timeout of statements is not possible with dbt-core 1\..*: dbt has no .*get_chosen"
    ) as found:
        require_patches()
    assert found.value.failure.reason is Reason.DBT_FAILED
    assert not found.value.failure.retryable


def test_swap_is_refused_where_marts_cannot_be_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt would build live marts before they are validated."""
    monkeypatch.setattr(staging, "PATCH", replace(staging.PATCH, symbols=(RENAMED,)))
    with pytest.raises(RunFailedError, match=r"publish: Swap is not possible with dbt-core 1\."):
        staging.Staging().put(None, "dwh__next", None)  # type: ignore[arg-type]  # refused before either is looked at


@pytest.mark.parametrize(
    ("value", "on"), [("", True), ("on", True), ("off", False), ("OFF", False), ("-select_only,-json_schemas", False), ("-others", True)]
)
def test_the_switch_turns_optional_patches_off(monkeypatch: pytest.MonkeyPatch, value: str, on: bool) -> None:
    """Users can then find out whether a patch causes a problem."""
    monkeypatch.setenv(SWITCH, value)
    assert select_only.PATCH.is_on is on
    assert all(patch.is_on for patch in (*REQUIRED, REQUIRED_TO_SWAP)), "what a run cannot do without stays on"
