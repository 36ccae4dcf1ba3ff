"""Formats the end of a run's log, which has one JSON object per line, for people."""

from pydantic_core import from_json


def last_lines(text: str, count: int = 80) -> tuple[str, ...]:
    """Return the last lines: JSON as time, level, step and message; any other line unchanged."""
    return tuple(_formatted(each) for each in text.splitlines()[-count:])


def _formatted(line: str) -> str:
    try:
        found = from_json(line)
    except ValueError:
        return line
    if not isinstance(found, dict) or "message" not in found:
        return line
    level, step = str(found.get("level", "")), str(found.get("step") or "")
    when = str(found.get("time", "")).partition("T")[2][:8]
    return " ".join(
        part for part in (when, level.upper() if level not in ("", "info") else "", step and f"[{step}]", str(found["message"])) if part
    )
