"""What readers ask of the overview in its address: which refreshes it shows, and how it groups them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from urllib.parse import urlencode

from refresh_page.kube.models import Refresh

MAX_SEARCH: Final = 100
"""Maximum characters of a search."""
_LABEL: Final = "label:"
_LABEL_KEY: Final = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9._-]{1,63}")


class InvalidQueryError(ValueError):
    """A parameter of the address has a value that is not known."""


class State(StrEnum):
    """The refreshes to show, by their state."""

    STALE = "stale"
    ATTENTION = "attention"
    NO_DATA = "no-data"
    FRESH = "fresh"
    RUNNING = "running"
    SUSPENDED = "suspended"


class GroupKind(StrEnum):
    """By what refreshes are grouped."""

    NONE = ""
    PROJECT = "project"
    NAMESPACE = "namespace"
    LABEL = "label"


@dataclass(frozen=True)
class OverviewQuery:
    """The parameters `q`, `state` and `group` of the address."""

    search: str = ""
    state: State | None = None
    group: GroupKind = GroupKind.NONE
    label: str = ""
    """The key of the label by which refreshes are grouped; empty unless they are grouped by a label."""

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Self:
        """Return the query of an address. Parameters may be missing or empty. Raise InvalidQueryError for an unknown state or group."""
        state, group = parameters.get("state", ""), parameters.get("group", "")
        kind, _, label = group.partition(":")
        if state not in ("", *State):
            raise InvalidQueryError(f"state: expected {', '.join(State)}")
        if group not in ("", GroupKind.PROJECT, GroupKind.NAMESPACE) and not (
            group.startswith(_LABEL) and _LABEL_KEY.fullmatch(group, len(_LABEL))
        ):
            raise InvalidQueryError("group: expected project, namespace or label:KEY")
        return cls(parameters.get("q", "").strip()[:MAX_SEARCH], State(state) if state else None, GroupKind(kind), label)

    @property
    def group_value(self) -> str:
        """The value of the parameter `group`."""
        return f"{_LABEL}{self.label}" if self.group is GroupKind.LABEL else self.group.value

    @property
    def narrows(self) -> bool:
        """Whether some refreshes may be left out."""
        return bool(self.search or self.state)

    def address(self, page: int = 1) -> str:
        """Return the part of an address that leads to a page of the same refreshes, for example `?q=velos&page=2`."""
        values = {"q": self.search, "state": self.state or "", "group": self.group_value, "page": str(page) if page > 1 else ""}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def finds(self, refresh: Refresh) -> bool:
        """Return whether each word of the search is a part of the namespace and name, title, project or a label's value of a refresh."""
        texts = (f"{refresh.ref.namespace}/{refresh.ref.name}", refresh.title, refresh.project, *refresh.labels.values())
        searched = "\n".join(texts).lower()
        return all(word in searched for word in self.search.lower().split())

    def group_of(self, refresh: Refresh) -> str:
        """Return the name of the group of a refresh; empty for a refresh without a project of its own, or without the label."""
        if self.group is GroupKind.PROJECT:
            return refresh.project
        if self.group is GroupKind.NAMESPACE:
            return refresh.ref.namespace
        return refresh.labels.get(self.label, "")
