"""An inbox for demo and tests: receives Slack webhooks and mail, and lists them.

`POST` on any path is a webhook's message; SMTP receives mail.
`GET /messages` returns all of them as JSON, oldest first; `DELETE /messages` removes them.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import asdict, dataclass
from email import message_from_bytes, policy
from typing import Final

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

KEPT: Final = 1000
"""Maximum number of messages; the oldest are dropped."""


@dataclass(frozen=True)
class Received:
    """One message, received by `slack` or `email`."""

    channel: str
    to: list[str]
    subject: str
    text: str


class Inbox:
    """The received messages."""

    def __init__(self) -> None:
        self.messages: deque[Received] = deque(maxlen=KEPT)

    async def take_webhook(self, request: Request) -> Response:
        """Answer as Slack does: `ok`, or 400 for an invalid message."""
        try:
            body = json.loads(await request.body())
            text = body["text"]
        except (ValueError, KeyError, TypeError):
            return PlainTextResponse("invalid_payload", status_code=400)
        self.messages.append(Received("slack", [str(body.get("channel", ""))], "", str(text)))
        return PlainTextResponse("ok")

    async def list_messages(self, _request: Request) -> Response:
        """Return all messages."""
        return JSONResponse([asdict(message) for message in self.messages])

    async def forget(self, _request: Request) -> Response:
        """Drop all messages."""
        self.messages.clear()
        return Response(status_code=204)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """Receive one mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        mail = message_from_bytes(content, policy=policy.default)
        body = mail.get_body(("plain",))
        self.messages.append(Received("email", envelope.rcpt_tos, str(mail["Subject"]), body.get_content() if body else ""))
        return "250 taken"


def app(inbox: Inbox) -> Starlette:
    """Return the HTTP application of an inbox."""
    return Starlette(
        routes=[
            Route("/messages", inbox.list_messages, methods=["GET"]),
            Route("/messages", inbox.forget, methods=["DELETE"]),
            Route("/{path:path}", inbox.take_webhook, methods=["POST"]),
        ]
    )


async def serve(host: str, http_port: int, smtp_port: int) -> None:
    """Serve until the process is told to stop."""
    inbox = Inbox()
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(lambda: SMTP(inbox, loop=loop), host, smtp_port)
    async with smtp:
        await uvicorn.Server(uvicorn.Config(app(inbox), host=host, port=http_port, log_level="warning")).serve()
