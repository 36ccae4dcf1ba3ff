"""Messages for incoming webhooks of Slack, which Mattermost and Rocket.Chat take, too."""

from pydantic import JsonValue

from refresh_notify.message import Message


def body(channel: str, message: Message) -> JsonValue:
    """Return the message, escaped, so that no text becomes a link or a mention."""
    text = f"*{message.subject}*\n{message.text}"
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"channel": channel, "text": escaped, "unfurl_links": False, "unfurl_media": False}
