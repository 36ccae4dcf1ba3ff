"""Requests for any webhook: all fields of a message, or what a refresh makes of them, by itself or as a CloudEvent; signed if wanted."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Template
from typing import Final

from pydantic import JsonValue

from refresh_api.channels import Webhook, WebhookFormat
from refresh_api.model import time_text
from refresh_notify.message import Message
from refresh_notify.posting import ChannelError

_LONGEST: Final = 256 * 1024
"""Maximum number of characters of all texts of a body."""


_TYPE: Final = "io.sigeti.dashboards.refresh"
"""Beginning of the types of CloudEvents."""
_SIGNING_KEY: Final = "signingKey"
_KEY_PREFIX: Final = "whsec_"
_SHORTEST_KEY: Final = 24
"""Minimum number of bytes of a signing key, as Standard Webhooks specifies."""


@dataclass(frozen=True)
class Request:
    """The body of a request, and its headers."""

    content: bytes
    headers: Mapping[str, str]


def request(channel: Webhook, name: str, secret: Mapping[str, str], message: Message) -> Request:
    """Return the request about a message. `secret` are the values of the Secret `name`; ChannelError if its signing key is invalid."""
    now = datetime.now(UTC)
    id_ = f"{message.run.run or message.run.refresh}/{message.run.event}"
    if message.run.run is None:
        # Nothing else distinguishes the times at which data become stale.
        id_ = f"{id_}/{time_text(now)}"
    content, media_type = body(channel.body, message), "application/json"
    if channel.format is WebhookFormat.CLOUD_EVENTS:
        content, media_type = _cloud_event(content, message, id_, now), "application/cloudevents+json"
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    key = secret.get(_SIGNING_KEY, "").strip()
    signature = _signature(_signing_key(name, key), id_, written, now) if key else {}
    return Request(written, {"Content-Type": media_type, **signature})


def _cloud_event(data: JsonValue, message: Message, id_: str, now: datetime) -> JsonValue:
    run = message.run
    event: dict[str, JsonValue] = {
        "specversion": "1.0",
        "id": id_,
        "source": f"/namespaces/{run.namespace}/dashboardrefreshes/{run.refresh}",
        "type": f"{_TYPE}.{run.event.lower()}",
        "time": time_text(now),
        "datacontenttype": "application/json",
        "data": data,
    }
    if run.run:
        event["subject"] = run.run
    return event


def _signature(key: bytes, id_: str, content: bytes, now: datetime) -> dict[str, str]:
    """Return the headers of Standard Webhooks (https://www.standardwebhooks.com)."""
    timestamp = str(int(now.timestamp()))
    digest = hmac.digest(key, f"{id_}.{timestamp}.".encode() + content, hashlib.sha256)
    return {"webhook-id": id_, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _signing_key(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _SHORTEST_KEY:
        raise ChannelError(f"the Secret {name!r} has an invalid {_SIGNING_KEY}: write at least {_SHORTEST_KEY} bytes in base64")
    return key


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
