"""What the receivers of notifications require of a request, by their published formats. Each returns the status that it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from refresh_api.objects import Json
from support.webserver import Asked, WebServer

Receiver = Callable[[Any], int]
_EVENT = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
_PAYLOAD = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}


class Checking(WebServer):
    """A server that answers as receivers do, each at its path; one alone at every path."""

    def __init__(self, receiver: Receiver, **by_path: Receiver) -> None:
        super().__init__()
        self._receiver = receiver
        self._by_path = by_path

    def answer_to(self, asked: Asked) -> int:
        """Return the receiver's answer."""
        place = asked.path.strip("/").partition("/")[0]
        return self._by_path.get(place, self._receiver)(json.loads(asked.body))


class Incidents:
    """Incidents as PagerDuty's Events API v2 keeps them: by routing key and dedup_key."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], str] = {}
        self.opened = 0

    def __call__(self, event: Any) -> int:
        """Take an event: 202, or 400 if the API would reject it."""
        action, key = event.get("event_action"), event.get("routing_key", "")
        if set(event) - _EVENT or action not in ("trigger", "acknowledge", "resolve") or not re.fullmatch(r"[0-9a-z]{32}", key):
            return 400
        dedup = event.get("dedup_key", "")
        if len(dedup) > 255 or (action == "resolve" and not dedup):
            return 400
        if action == "resolve":
            self.open.pop((key, dedup), None)
            return 202
        payload = event.get("payload", {})
        if set(payload) - _PAYLOAD or not payload.get("summary") or len(payload["summary"]) > 1024 or not payload.get("source"):
            return 400
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            return 400
        if any(set(link) - {"href", "text"} or not link.get("href") for link in event.get("links", [])):
            return 400
        self.opened += (key, dedup) not in self.open
        self.open[key, dedup] = payload["summary"]
        return 202


class Alerts:
    """Alerts as Alertmanager's API v2 keeps them: by their labels, firing until `endsAt`."""

    def __init__(self) -> None:
        self.ends: dict[tuple[tuple[str, str], ...], datetime] = {}

    def __call__(self, alerts: Any) -> int:
        """Take alerts: 200, or 400 if the API would reject them."""
        if not isinstance(alerts, list):
            return 400
        for alert in alerts:
            if set(alert) - {"labels", "annotations", "startsAt", "endsAt", "generatorURL"} or not alert.get("labels"):
                return 400
            texts = [*alert["labels"].values(), *alert.get("annotations", {}).values()]
            names = [*alert["labels"], *alert.get("annotations", {})]
            if not all(isinstance(text, str) for text in texts) or not all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) for name in names):
                return 400
            self.ends[tuple(sorted(alert["labels"].items()))] = datetime.fromisoformat(alert["endsAt"])
        return 200

    def firing(self) -> list[dict[str, str]]:
        """Return the labels of the alerts that fire."""
        return [dict(labels) for labels, end in self.ends.items() if end > datetime.now(UTC)]


def teams(message: Any) -> int:
    """Answer 202 to an Adaptive Card whose elements Teams knows, of at most 28 KB; else 400."""
    if set(message) != {"type", "attachments"} or message["type"] != "message" or len(json.dumps(message, ensure_ascii=False)) > 28 * 1024:
        return 400
    (attachment,) = message["attachments"]
    card = attachment["content"]
    if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" or (card["type"], card["version"]) != ("AdaptiveCard", "1.4"):
        return 400
    blocks = card["body"]
    runs = [run for block in blocks for run in block["inlines"]]
    if any(block["type"] != "RichTextBlock" for block in blocks) or any(run["type"] != "TextRun" or not run["text"] for run in runs):
        return 400
    return 400 if any(action["type"] != "Action.OpenUrl" or not action["url"] for action in card["actions"]) else 202


def google_chat(message: Any) -> int:
    """Answer 200 to cards with the widgets of Google Chat, of at most 32 KB; else 400."""
    if set(message) != {"cardsV2"} or len(json.dumps(message, ensure_ascii=False).encode()) > 32_000:
        return 400
    for each in message["cardsV2"]:
        card = each["card"]
        widgets: list[Json] = [widget for section in card["sections"] for widget in section["widgets"]]
        if set(each) != {"cardId", "card"} or not card["header"]["title"]:
            return 400
        if any(set(widget) not in ({"textParagraph"}, {"buttonList"}) for widget in widgets):
            return 400
    return 200


def mattermost(message: Any) -> int:
    """Answer 200 to a message for an incoming webhook of Mattermost: a channel with # or @, and a text of at most 16,383 characters."""
    if not isinstance(message.get("text"), str) or not message["text"] or len(message["text"]) > 16_383:
        return 400
    return 200 if message.get("channel", "#")[0] in "#@" else 404


def rocket_chat(message: Any) -> int:
    """Answer 200 to a message for an incoming webhook of Rocket.Chat: a channel with # or @, and a text."""
    return 200 if isinstance(message.get("text"), str) and re.match(r"[#@].", message.get("channel", "")) else 400
