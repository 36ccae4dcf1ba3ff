"""Messages for incoming webhooks of Google Chat: a card, whose texts mention nobody."""

from html import escape

from pydantic import JsonValue

from refresh_notify.message import Message


def body(message: Message) -> JsonValue:
    """Return the card, escaped, so that no text becomes a link."""
    text = escape(message.text, quote=False).replace("\n", "<br>")
    widgets: list[JsonValue] = [{"textParagraph": {"text": text}}]
    if link := message.run.link:
        widgets.append({"buttonList": {"buttons": [{"text": "Open the run", "onClick": {"openLink": {"url": link}}}]}})
    card: JsonValue = {"header": {"title": message.subject}, "sections": [{"widgets": widgets}]}
    return {"cardsV2": [{"cardId": message.run.run or message.run.refresh, "card": card}]}
