"""Patterns of addresses with which the chart's values allow projects and packages; pure."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase


def is_allowed(address: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns matches an address. Their * and ? also match slashes, except in the host."""
    return any(all(map(matches, _parts(address), _parts(pattern))) for pattern in patterns)


def allowed_text(patterns: Sequence[str]) -> str:
    """Return what patterns allow, for the end of a message that refuses something."""
    return f"allowed are {', '.join(patterns)}" if patterns else "it allows none"


def matches(text: str, pattern: str) -> bool:
    """Return whether a pattern with * and ? matches the whole text."""
    # a bracket is part of an IPv6 address, not a wildcard
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _parts(address: str) -> tuple[str, str, str]:
    """Return the scheme, the host with user and port, and the path of an address or a pattern."""
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    return scheme, host, path
