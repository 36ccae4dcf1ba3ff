"""The runner's output on a terminal."""

import logging
from datetime import UTC, datetime

from rich.console import Console

from refresh_api.status import MartStatus, NullShare, Outcome, Reason, Run, RunPhase, StepState, StepStatus, Verdict
from refresh_runner.core.secrets import Redactor
from refresh_runner.report.terminal import LiveTable

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
RUN = Run(
    id="phase2-local",
    generation=0,
    phase=RunPhase.FINISHED,
    attempt=1,
    attempts=1,
    start_time=NOW,
    heartbeat_time=NOW,
    outcome=Outcome.FAILED,
    reason=Reason.VALIDATION_FAILED,
    message="mart_c has no rows, says p%40ss",
    marts="1/3",
    steps=[StepStatus(name="marts", state=StepState.SUCCEEDED, tries=2, duration="3s"), StepStatus(name="cache", state=StepState.SKIPPED)],
    validation=[
        MartStatus(relation="a.mart_a", verdict=Verdict.VALID, rows=1234, null_shares=[NullShare(column="mois", share="0%")]),
        MartStatus(relation="a.mart_b", verdict=Verdict.WARNING, rows=10),
        MartStatus(relation="a.mart_c", verdict=Verdict.FAILED, message="it has no rows"),
    ],
)


def shown(colour: bool) -> list[str]:
    console = Console(width=120, force_terminal=colour, color_system="truecolor" if colour else None, record=False)
    table = LiveTable(console, "Phase 2", Redactor(["p%40ss"]))
    with console.capture() as capture:
        console.print(table.rendered(RUN))
    return capture.get().splitlines()


def line(lines: list[str], text: str) -> str:
    return next(line for line in lines if text in line)


def test_a_verdict_shows_its_sign_and_colour():
    """VALID ✓ green, WARNING ⚠ orange, FAILED ✗ red."""
    plain, coloured = shown(colour=False), shown(colour=True)
    for mart, sign, word in (("mart_a", "✓", "VALID"), ("mart_b", "⚠", "WARNING"), ("mart_c", "✗", "FAILED")):
        assert sign in line(plain, mart)
        assert word in line(plain, mart)
    green, orange, red = "\x1b[32m✓", "\x1b[38;5;214m⚠", "\x1b[31m✗"
    assert green in line(coloured, "mart_a")
    assert orange in line(coloured, "mart_b")
    assert red in line(coloured, "mart_c")


def test_an_error_that_is_logged_shows_no_secret():
    """Neither does its traceback. Control: the surrounding text is shown."""
    console = Console(width=120, force_terminal=True)
    before = logging.getLogger().handlers[:]
    with console.capture() as capture, LiveTable(console, "Phase 2", Redactor(["p%40ss"])):
        try:
            raise ValueError("login with p%40ss and 'p%40ss'")
        except ValueError:
            logging.getLogger("somewhere").exception("it broke with %s", "p%40ss")
    logging.getLogger().handlers = before
    assert "it broke with ***" in capture.get()
    assert "ValueError: login with *** and" in capture.get()
    assert "p%40ss" not in capture.get()


def test_steps_are_counted_and_tries_shown():
    """As in the status."""
    lines = shown(colour=False)
    assert "✓  1/2 marts (try 2)" in line(lines, "1/2")
    assert "-  2/2 cache" in line(lines, "2/2")


def test_the_conclusion_is_there_and_no_secret():
    """Outcome, reason and marts are printed at the end."""
    conclusion = shown(colour=False)[-1]
    assert conclusion.startswith("Failed (ValidationFailed) 1/3  mart_c has no rows, says ***")


def test_nothing_of_the_warehouse_moves_the_cursor_or_is_read_as_markup():
    """Neither a mart's name, nor a step's message, nor a title. Control: our own colours are printed."""
    hostile = "\x1b[2J\x9b31m\u202e[/red][bold]x"
    step = StepStatus(name="marts", state=StepState.FAILED, message=hostile)
    mart = MartStatus(relation=f"a.{hostile}", verdict=Verdict.FAILED, message=hostile)
    run = RUN.model_copy(update={"message": hostile, "steps": [step], "validation": [mart]})
    console = Console(width=200, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        console.print(LiveTable(console, hostile, Redactor([])).rendered(run))
    shown = capture.get()
    assert shown.count("\\u001b[2J\\u009b31m\\u202e[/red][bold]x") == 5
    assert "\x1b[" in shown
    assert not {"\x1b[2J", "\x9b", "\u202e"} & {shown[at : at + length] for at in range(len(shown)) for length in (1, 4)}
