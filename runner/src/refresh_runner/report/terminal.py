"""A live table of a run on a terminal."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from refresh_api.plain import plain
from refresh_api.status import MartStatus, Run, StepState, StepStatus, Verdict
from refresh_runner.core.secrets import Redactor

_STATES: Final = {
    StepState.PENDING: ("·", "dim"),
    StepState.RUNNING: ("▶", "cyan"),
    StepState.SUCCEEDED: ("✓", "green"),
    StepState.WARNED: ("⚠", "yellow"),
    StepState.FAILED: ("✗", "red"),
    StepState.SKIPPED: ("-", "dim"),
}
_VERDICTS: Final = {Verdict.VALID: ("✓", "green"), Verdict.WARNING: ("⚠", "orange1"), Verdict.FAILED: ("✗", "red")}


class LiveTable:
    """Shows the latest state of a run inside the block. Log lines scroll above it."""

    def __init__(self, console: Console, title: str, redact: Redactor) -> None:
        self._console = console
        self._title = title
        self._redact = redact
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def show(self, run: Run) -> None:
        """Show a new state of the run."""
        self._live.update(self.rendered(run))

    def rendered(self, run: Run) -> RenderableType:
        """Return the run as a table."""
        steps = Table(box=None, pad_edge=False)
        for heading in ("", "Step", "Took", ""):
            steps.add_column(heading, overflow="fold")
        for number, step in enumerate(run.steps, 1):
            steps.add_row(*self._row(f"{number}/{len(run.steps)} {step.name}", step))
        parts: list[RenderableType] = [Text(plain(self._title), "bold").append(f" · {run.id}", "not bold dim"), steps]
        if run.validation:
            marts = Table(box=None, pad_edge=False)
            for heading in ("", "Mart", "Verdict", "Rows", "NULL in keys"):
                marts.add_column(heading, justify="right" if heading == "Rows" else "left", overflow="fold")
            for mart in run.validation:
                marts.add_row(*_mart_row(mart))
            parts += [Text(), marts]
        if run.reason:
            parts += [Text(), self._conclusion(run)]
        return Group(*parts)

    def _row(self, label: str, step: StepStatus) -> tuple[RenderableType, ...]:
        sign, colour = _STATES[step.state]
        again = f" (try {step.tries})" if step.tries > 1 else ""
        return Text(sign, colour), Text(label + again, colour), step.duration or "", Text(plain(self._redact(step.message or "")), "dim")

    def _conclusion(self, run: Run) -> Text:
        colour = {"Succeeded": "green", "Warned": "yellow", "Skipped": "dim"}.get(run.outcome or "", "red")
        marts = f" {run.marts}" if run.marts else ""
        ended = str(run.outcome or run.phase)
        reason = f" ({run.reason})" if run.reason != ended else ""
        conclusion = Text(f"{ended}{reason}{marts}", f"bold {colour}")
        return conclusion.append(f"  {plain(self._redact(run.message or ''))}", "not bold")

    def __enter__(self) -> Self:
        handler = RichHandler(console=self._console, show_path=False, show_time=False, markup=False)
        handler.addFilter(self._redacted)
        root = logging.getLogger()
        root.handlers = [handler]
        root.setLevel(logging.WARNING)
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def _redacted(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info:
            # RichHandler would print the traceback without redaction.
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        record.msg, record.args, record.exc_info, record.exc_text = plain(self._redact(text)), (), None, None
        return True


def _mart_row(mart: MartStatus) -> tuple[RenderableType, ...]:
    sign, colour = _VERDICTS[mart.verdict]
    shares = ", ".join(f"{share.column} {share.share}" for share in mart.null_shares)
    rows = "" if mart.rows is None else f"{mart.rows:,}"
    said = Text(plain(shares or mart.message or ""))  # a plain string would be interpreted as markup
    return Text(sign, colour), Text(plain(mart.relation)), Text(mart.verdict, colour), rows, said
