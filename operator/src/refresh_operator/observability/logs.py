"""Log lines as JSON, with the refresh that is being reconciled, and with the run if one is given (`extra={"run": …}`)."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from refresh_api.log_lines import json_line
from refresh_api.names import KIND
from refresh_operator.names import Ref

_REFRESH: ContextVar[Ref | None] = ContextVar("refresh", default=None)


@contextmanager
def log_context(ref: Ref) -> Iterator[None]:
    """Add the refresh or preview to every line that is logged within."""
    token = _REFRESH.set(ref)
    try:
        yield
    finally:
        _REFRESH.reset(token)


class JsonFormatter(logging.Formatter):
    """Formats each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        ref = _REFRESH.get()
        fields = {
            "message": record.getMessage(),
            **({"namespace": ref.namespace, ("refresh" if ref.kind == KIND else "preview"): ref.name} if ref else {}),
            **({"run": run} if (run := getattr(record, "run", None)) else {}),
            **({"error": self.formatException(record.exc_info)} if record.exc_info else {}),
        }
        return json_line(record, fields)


def configure(level: str) -> None:
    """Log to standard output at this level."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # at INFO, kopf logs each event, aiohttp each probe, and httpx each URL; the URL of a webhook is secret
    for name in ("kopf", "httpx", "httpcore", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.getLevelName(level), logging.WARNING))
