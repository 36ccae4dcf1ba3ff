"""Log lines of the operator and of runs: one JSON object per line."""

import json
import logging
from datetime import UTC, datetime

from refresh_api.plain import plain


def json_line(record: logging.LogRecord, fields: dict[str, str | None]) -> str:
    """Return the line of a record: its time, level and logger, then the fields."""
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        **fields,
    }
    return plain(json.dumps(line, ensure_ascii=False))
