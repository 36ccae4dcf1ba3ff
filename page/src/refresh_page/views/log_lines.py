"""The last lines of a run's log as a person reads them: the runner writes one JSON object a line; pure."""

from pydantic_core import from_json


def last_lines(text: str, most: int = 80) -> tuple[str, ...]:
    """Return the last lines: time, level, step and message of those that are JSON, others as they are."""
    return tuple(_line(each) for each in text.splitlines()[-most:])


def _line(line: str) -> str:
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
