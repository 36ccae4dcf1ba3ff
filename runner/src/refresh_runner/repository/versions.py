"""Ranges of semantic versions in the syntax of Flux, and the tags in them; pure.

The contract has checked the syntax of a range. Libraries were compared when this was written: `semver` has no ranges, `semantic_version`
is not maintained and takes 2.0.0-rc.1 for <=1, and `node-semver` takes a range that it cannot read for an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = r"(0|[1-9][0-9]{0,17})"
_NAMES: Final = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_TAG: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_NAMES}))?(?:\+{_NAMES})?", re.ASCII)
_PART: Final = "[0-9]+|[xX*]"
_BOUND: Final = re.compile(
    rf"(?P<operator>!?=|[<>]=?|[~^])? ?v?(?P<major>{_PART})(?:\.(?P<minor>{_PART}))?(?:\.(?P<patch>{_PART}))?(?:-(?P<pre>{_NAMES}))?"
)
_Name = tuple[int, int, str]
"""A part of a prerelease: numbers are lower than words."""
_Prerelease = tuple[int | _Name, ...]
_RELEASE: Final[_Prerelease] = (1,)
_LOWEST: Final[_Prerelease] = (0,)
"""Where a prerelease would be that is lower than all others of its version."""
_Key = tuple[int | _Prerelease, ...]
"""A version as numbers that sort like it: major, minor, patch and the prerelease."""
_BEGIN: Final[_Key] = ()
_END: Final[_Key] = (10**18,)


def newest(tags: Iterable[str], range_: str) -> str | None:
    """Return the tag with the highest version in a range; None if no version is in it."""
    alternatives = [_Alternative.parse(text) for text in range_.split("||")]
    return next((tag for tag in newest_first(tags) if any(each.contains(_key(tag)) for each in alternatives)), None)


def newest_first(tags: Iterable[str]) -> list[str]:
    """Return the tags that are versions, like v1.2.3, highest first."""
    return sorted((tag for tag in tags if _TAG.fullmatch(tag)), key=lambda tag: (_key(tag), tag), reverse=True)


@dataclass(frozen=True)
class _Bound:
    """The versions from `low` up to but not including `high`, or all others."""

    low: _Key
    high: _Key
    is_excluded: bool = False

    def contains(self, version: _Key) -> bool:
        return (self.low <= version < self.high) != self.is_excluded


@dataclass(frozen=True)
class _Alternative:
    """Bounds that all apply."""

    bounds: tuple[_Bound, ...]
    names_prerelease: bool

    @classmethod
    def parse(cls, text: str) -> _Alternative:
        first, hyphen, last = text.strip().partition(" - ")
        matches = list(_BOUND.finditer(f">={first} <={last}" if hyphen else text))
        return cls(tuple(_bound(each) for each in matches), any(each["pre"] for each in matches))

    def contains(self, version: _Key) -> bool:
        is_release = version[-1] == _RELEASE
        return (is_release or self.names_prerelease) and all(each.contains(version) for each in self.bounds)


def _bound(match: re.Match[str]) -> _Bound:
    parts = list(_numbers(match["major"], match["minor"], match["patch"]))
    low: _Key = (*_filled(parts), _prerelease(match["pre"]))
    # a longer tuple sorts directly after the shorter one
    after: _Key = (*low, 0) if len(parts) == 3 else _next(parts, len(parts))
    match match["operator"]:
        case "<":
            # 2.0.0-rc.1 is not below 2, as nobody who writes <2 means it
            return _Bound(_BEGIN, low if match["pre"] else (*low[:3], _LOWEST))
        case "<=":
            return _Bound(_BEGIN, after)
        case ">":
            return _Bound(after, _END)
        case ">=":
            return _Bound(low, _END)
        case "~":
            return _Bound(low, _next(parts, min(len(parts), 2)))
        case "^":
            leading_zeros = next((place for place, part in enumerate(parts) if part), len(parts) - 1)
            return _Bound(low, _next(parts, leading_zeros + 1))
        case operator:
            return _Bound(low, after, operator == "!=")


def _numbers(*parts: str | None) -> Iterator[int]:
    """Yield the parts of a version before the first that is missing or a wildcard."""
    for part in parts:
        if part is None or not part.isdigit():
            return
        yield int(part)


def _filled(parts: list[int]) -> tuple[int, ...]:
    return (*parts, 0, 0, 0)[:3]


def _next(parts: list[int], length: int) -> _Key:
    """Return the lowest version above all that begin with these parts, up to `length`."""
    if length <= 0:
        return _END
    return (*_filled([*parts[: length - 1], parts[length - 1] + 1]), _LOWEST)


def _key(tag: str) -> _Key:
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f"{tag} is not a version")
    major, minor, patch, prerelease = match.groups()
    return (int(major), int(minor), int(patch), _prerelease(prerelease))


def _prerelease(text: str | None) -> _Prerelease:
    if text is None:
        return _RELEASE
    return (0, *((0, int(name), "") if name.isdigit() else (1, 0, name) for name in text.split(".")))
