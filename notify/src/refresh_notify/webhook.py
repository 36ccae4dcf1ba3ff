"""JSON for any webhook: all fields of a message, or what a refresh makes of them."""

from collections.abc import Mapping
from string import Template
from typing import Final

from pydantic import JsonValue

from refresh_api.model import time_text
from refresh_notify.message import Message
from refresh_notify.posting import ChannelError

_LONGEST: Final = 256 * 1024
"""Maximum number of characters of all texts of a body."""


def fields(message: Message) -> dict[str, str | int | None]:
    """Return the fields of a message, by their names in `refresh_api.channels.MESSAGE_FIELDS`."""
    run = message.run
    return {
        "event": run.event,
        "namespace": run.namespace,
        "refresh": run.refresh,
        "displayName": run.title,
        "run": run.run,
        "reason": run.reason,
        "message": run.message,
        "hint": run.hint or None,
        "step": run.step,
        "attempts": run.attempts,
        "marts": run.marts,
        "revision": run.revision,
        "failingSince": time_text(run.failing_since) if run.failing_since else None,
        "link": run.link,
        "subject": message.subject,
        "text": message.text,
    }


def body(template: Mapping[str, JsonValue] | None, message: Message) -> JsonValue:
    """Return the JSON to send. Placeholders are replaced in texts only, after parsing, so that a message cannot add to the JSON."""
    found = fields(message)
    if template is None:
        return dict(found)
    return _Filled({name: "" if value is None else str(value) for name, value in found.items()}).of(dict(template))


class _Filled:
    """Replaces placeholders, up to a total length."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._longest = max(map(len, values.values()))
        self._left = _LONGEST

    def of(self, value: JsonValue) -> JsonValue:
        """Return a value with the placeholders in its texts replaced; ChannelError if it could become too long."""
        if isinstance(value, dict):
            return {name: self.of(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.of(inner) for inner in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        # The limit is checked before anything is replaced: short placeholders may stand for long texts.
        self._left -= len(text) + text.count("$") * self._longest
        if self._left < 0:
            raise ChannelError(f"the body of the webhook could be longer than {_LONGEST // 1024} KB: use fewer placeholders")
        return Template(text).safe_substitute(self._values)
