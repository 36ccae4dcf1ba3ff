"""Log lines as JSON, each with the refresh that it is about, and with the run where it is about one (`extra={"run": …}`)."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from refresh_api.plain import plain
from refresh_operator.names import Ref

_ABOUT: ContextVar[Ref | None] = ContextVar("about", default=None)


@contextmanager
def log_context(ref: Ref) -> Iterator[None]:
    """Name the refresh in every line that is logged within."""
    token = _ABOUT.set(ref)
    try:
        yield
    finally:
        _ABOUT.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        ref = _ABOUT.get()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **({"namespace": ref.namespace, "refresh": ref.name} if ref else {}),
            **({"run": run} if (run := getattr(record, "run", None)) else {}),
            **({"error": self.formatException(record.exc_info)} if record.exc_info else {}),
        }
        return plain(json.dumps(line, ensure_ascii=False))


def configure(level: str) -> None:
    """Log to the standard output from now on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # told at INFO: by kopf each event that it hands on, by aiohttp each probe, by httpx each address, and a webhook's is a secret
    for name in ("kopf", "httpx", "httpcore", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.getLevelName(level), logging.WARNING))
