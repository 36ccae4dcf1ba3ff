"""What the runner prints: JSON lines in a pod, plain ones elsewhere; nothing secret in either."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from refresh_runner.secrets import Redactor


class JsonLines(logging.Formatter):
    """One JSON object a line, with the refresh, the run and the step under way."""

    def __init__(self, redact: Redactor, refresh: str, run: str, step: Callable[[], str | None]) -> None:
        super().__init__()
        self._redact = redact
        self._fixed = {"refresh": refresh, "run": run}
        self._step = step

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._fixed,
            "step": self._step(),
            "logger": record.name,
            "message": self._redact(message),
        }
        return json.dumps(line, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """Lines for a person."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self._redact(super().format(record))


def log_to(stream: TextIO, formatter: logging.Formatter, level: int = logging.INFO) -> None:
    """Send all logging there from now on; what a stream refuses is dropped, since no run may fail by its log."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
