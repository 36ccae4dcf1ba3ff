"""What a dbt project says about itself, as the runner has stored it with the project's first run, already redacted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Final

from pydantic import TypeAdapter, ValidationError

from refresh_page.kube.models import Lenient


class Column(Lenient):
    """A column with its documentation."""

    name: str
    type: str = ""
    description: str = ""


class DescribedNode(Lenient):
    """A model, seed, snapshot, test or source of the project."""

    unique_id: str
    name: str
    description: str = ""
    relation: str | None = None
    """Schema and name of its live table or view, as in the spec's marts."""
    columns: tuple[Column, ...] = ()
    reads: tuple[str, ...] = ()
    """IDs of what it reads; of a test, what it tests."""


class Exposure(Lenient):
    """What depends on the project, such as a dashboard."""

    unique_id: str
    name: str
    type: str = ""
    description: str = ""
    url: str | None = None
    owner: str | None = None
    email: str | None = None
    reads: tuple[str, ...] = ()
    """IDs of the models that it reads."""


class Project(Lenient):
    """A dbt project."""

    nodes: tuple[DescribedNode, ...] = ()
    exposures: tuple[Exposure, ...] = ()

    @cached_property
    def by_id(self) -> Mapping[str, DescribedNode]:
        """The nodes by ID."""
        return {node.unique_id: node for node in self.nodes}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """The IDs of the nodes that read a node, by its ID."""
        found: dict[str, list[str]] = defaultdict(list)
        for node in self.nodes:
            for each in node.reads:
                found[each].append(node.unique_id)
        return {id_: tuple(sorted(readers)) for id_, readers in found.items()}

    def downstream(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the IDs of these nodes and of all that read them, directly or not."""
        return _reached(ids, lambda id_: self.readers.get(id_, ()))

    def upstream(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the IDs of these nodes and of all that they read, directly or not."""
        return _reached(ids, lambda id_: self.by_id[id_].reads if id_ in self.by_id else ())


def _reached(ids: Iterable[str], following: Callable[[str], Iterable[str]]) -> frozenset[str]:
    found: set[str] = set()
    todo = list(ids)
    while todo:
        if (each := todo.pop()) not in found:
            found.add(each)
            todo += following(each)
    return frozenset(found)


_PROJECT: Final = TypeAdapter(Project)


def project_of(content: bytes) -> Project | None:
    """Return the project that a run has described; None for content that cannot be read."""
    try:
        return _PROJECT.validate_json(content)
    except ValidationError:
        return None
