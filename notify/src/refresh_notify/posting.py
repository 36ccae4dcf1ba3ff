"""Post JSON to a URL of a Secret. A ChannelError quotes neither a response nor a secret, only status codes."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import JsonValue

from refresh_notify.calls import Caller, CallError, proxy_for, tried

_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


class ChannelError(Exception):
    """A channel did not accept the message; the text says why."""


@dataclass(frozen=True)
class Rules:
    """Settings of all channels."""

    allow_http: bool = False
    """Allow webhooks with plain HTTP. Otherwise only on loopback."""
    timeout: float = 10.0
    """Maximum seconds of one call. All tries together may take twice as long: a pod has thirty seconds to terminate."""
    sleep: Callable[[float], None] = time.sleep


def post(service: str, address: str, content: JsonValue | bytes, rules: Rules, headers: Mapping[str, str] | None = None) -> None:
    """Post JSON, or bytes as they are, to an address; ChannelError, which names the service, unless the status is 2xx."""
    url = _url_of(service, address)
    if url.scheme == "http" and not rules.allow_http and not _LOOPBACK.fullmatch(url.host):
        raise ChannelError(f"{service} is not called: the URL does not begin with https:// (see the chart value webhooks.allowHttp)")
    only_loopback = url.scheme == "http" and not rules.allow_http
    try:
        place, proxy = str(url.copy_with(raw_path=b"/", fragment=None)), proxy_for(url, rules.timeout)
        with Caller(place, headers, proxy=proxy, only_loopback=only_loopback) as caller:
            # The body is not read: it must not be shown, and may be long.
            answer = tried(
                lambda left: caller.call("POST", str(url), min(left, rules.timeout), content=content, to_end=False),
                2 * rules.timeout,
                time.monotonic,
                rules.sleep,
            )
    except TimeoutError:
        raise ChannelError(f"{service} did not answer within {rules.timeout:.0f}s") from None
    except CallError as error:
        raise ChannelError(f"{service} cannot be reached ({error.kind or error})") from None
    if not httpx.codes.is_success(answer.status):
        raise ChannelError(f"{service} answered {answer.status}")


def secret_value(name: str, secret: Mapping[str, str], key: str) -> str:
    """Return the value of a key that a channel needs; ChannelError if there is none."""
    value = secret.get(key, "").strip()
    if not value:
        raise ChannelError(f"the Secret {name!r} does not exist or lacks the key {key!r}")
    return value


def _url_of(service: str, text: str) -> httpx.URL:
    """Return a URL; ChannelError, which does not quote it, if it is invalid."""
    try:
        url = httpx.URL(text) if text.isascii() and text.isprintable() and " " not in text else None
    except (httpx.InvalidURL, ValueError):
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise ChannelError(f"{service} is not called: not a valid URL, which must be one line that begins with https://")
    return url


def authorization_of(name: str, secret: Mapping[str, str]) -> dict[str, str]:
    """Return the Authorization header, if the Secret has one; ChannelError if its value cannot be a header."""
    value = secret.get("authorization", "").strip()
    if not (value.isascii() and value.isprintable()):
        raise ChannelError(f"the Secret {name!r} has a value that cannot be a header: authorization must be one line of ASCII")
    return {"Authorization": value} if value else {}
