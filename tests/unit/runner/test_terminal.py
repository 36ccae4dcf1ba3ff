"""The live table shows what a person looks for: each step's sign, each mart's verdict in its colour."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from refresh_api.status import MartStatus, Run, RunPhase, Verdict
from refresh_runner.secrets import Redactor
from refresh_runner.terminal import LiveTable

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GREEN, ORANGE, RED = "\x1b[32m", "\x1b[38;5;214m", "\x1b[31m"


def shown(verdict: Verdict) -> str:
    mart = MartStatus(relation="dwh.mart_essai", verdict=verdict, rows=1200)
    run = Run(
        id="essai", generation=1, phase=RunPhase.RUNNING, attempt=1, attempts=1, start_time=NOW, heartbeat_time=NOW, validation=[mart]
    )
    console = Console(file=StringIO(), force_terminal=True, color_system="256", width=120)
    with console.capture() as capture:
        console.print(LiveTable(console, "Essai", Redactor(())).rendered(run))
    return next(line for line in capture.get().splitlines() if "mart_essai" in line)


@pytest.mark.parametrize(
    ("verdict", "sign", "colour"), [(Verdict.VALID, "✓", GREEN), (Verdict.WARNING, "⚠", ORANGE), (Verdict.FAILED, "✗", RED)]
)
def test_a_verdict_shows_its_sign_and_colour(verdict, sign, colour):
    """Green, orange and red, as in the old flow."""
    line = shown(verdict)
    assert f"{colour}{sign}" in line
    assert f"{colour}{verdict}" in line
