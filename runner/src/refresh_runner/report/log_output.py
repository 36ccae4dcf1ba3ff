"""Log output: JSON lines in a pod, plain lines elsewhere, both redacted."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

from refresh_api.log_lines import json_line
from refresh_api.plain import plain
from refresh_api.status import clip
from refresh_runner.core.secrets import Redactor

TAIL_LENGTH: Final = 512 * 1024
"""Maximum number of characters of a run's log that are stored in the warehouse."""

LINE_LENGTH: Final = 64 * 1024
"""Maximum number of characters of a message in the log."""


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object, with the refresh, the run and the step in progress."""

    def __init__(self, redact: Redactor, refresh: str, run: str, step: Callable[[], str | None]) -> None:
        super().__init__()
        self._redact = redact
        self._fixed = {"refresh": refresh, "run": run}
        self._step = step
        self._last: tuple[logging.LogRecord, str] | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, which is cached for the next handler of the same record."""
        if (last := self._last) and last[0] is record:
            return last[1]
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        text = json_line(record, {**self._fixed, "step": self._step(), "message": self._redact.clipped(message, LINE_LENGTH)})
        self._last = record, text
        return text


class PlainLines(logging.Formatter):
    """Formats a record as a plain line."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return plain(self._redact.clipped(super().format(record), LINE_LENGTH))


class Tail(logging.Handler):
    """Keeps the last lines, up to a total length."""

    def __init__(self, formatter: logging.Formatter, longest: int = TAIL_LENGTH) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._longest = longest
        self._length = 0
        self._lines: deque[str] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line."""
        line = clip(self.format(record), self._longest)
        self._lines.append(line)
        self._length += len(line) + 1
        while self._length > self._longest and len(self._lines) > 1:
            self._length -= len(self._lines.popleft()) + 1

    def text(self) -> str:
        """Return the kept lines."""
        return "".join(f"{line}\n" for line in tuple(self._lines))


def log_to(stream: TextIO, formatter: logging.Formatter, tail: Tail, level: int = logging.INFO) -> None:
    """Send all log records to both. Ignore errors of the stream, because logging must not fail a run."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler, tail]
    root.setLevel(level)
    logging.raiseExceptions = False
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
