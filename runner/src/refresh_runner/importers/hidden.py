"""Values of a source that may be secret. They are recognised by the names that people give them, and by their form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

_NAME: Final = re.compile(
    r"(?i)pass(word|wd|phrase|code)?(?![a-z])|pwd|secret|token|credential|(api|access|private|account)_?key|dsn|auth(?!or)|conn(ection)?_?(str|uri|url)"
)
_LOGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@'\"]*@[^\s'\"]*")
"""An address with a user before the host."""


def is_secret(name: str, value: object = None) -> bool:
    """Return whether a value may be secret, by its name or because it contains an address with a login."""
    return bool(_NAME.search(name)) or any(_LOGIN.search(text) for text in leaves(value))


def hidden_leaves(values: Mapping[str, object]) -> Iterator[str]:
    """Yield the values in a mapping that may be secret, with those inside of them."""
    for name, value in values.items():
        if isinstance(value, dict) and not is_secret(name):
            yield from hidden_leaves(value)
        elif is_secret(name, value):
            yield from leaves(value)


def leaves(value: object) -> Iterator[str]:
    """Yield the texts and numbers in a value, as text."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def logins(text: str) -> Iterator[str]:
    """Yield the logins of the addresses in a text, such as `user:password`, without a user alone."""
    for found in _LOGIN.finditer(text):
        login = found[0].partition("://")[2].rpartition("@")[0]
        if ":" in login:
            yield from (login, login.partition(":")[2])
        elif found[0].startswith("http"):
            yield login  # a token; elsewhere a user alone is no secret


def without_login(url: str) -> str:
    """Return an address without user and password; for ssh, where the user is no secret, without the password.

    Raise ValueError if it is no address.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    return parts._replace(netloc=f"{user}@{host}" if user and parts.scheme == "ssh" else host).geturl()
