"""Messages for webhooks of workflows in Microsoft Teams: an Adaptive Card."""

from typing import Final

from pydantic import JsonValue

from refresh_notify.message import Message

_MAX_LINES: Final = 60
"""Maximum number of blocks of text. Teams rejects cards of more than 28 KB."""


def body(message: Message) -> JsonValue:
    """Return the card. Its texts are text runs, which have no Markdown: no text becomes a link or a mention."""
    lines = message.text.split("\n")
    shown = [*lines[: _MAX_LINES - 1], " ".join(lines[_MAX_LINES - 1 :])]
    blocks: list[JsonValue] = [_block(message.subject, weight="Bolder", size="Medium"), *(_block(line) for line in shown if line.strip())]
    link = message.run.link
    actions: list[JsonValue] = [{"type": "Action.OpenUrl", "title": "Open the run", "url": link}] if link else []
    card: JsonValue = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
        "actions": actions,
        "msteams": {"width": "Full"},
    }
    attachment: JsonValue = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _block(text: str, **style: str) -> JsonValue:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}
