"""Models that dbt builds beside the live tables of their names, and reads there; for some they stand where they are live all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refresh_runner.catalog import Relation

if TYPE_CHECKING:
    from dbt.contracts.graph.nodes import ManifestNode


@dataclass(frozen=True)
class _Place:
    """A model, and how dbt names where it stands."""

    node: ManifestNode
    schema: str
    relation_name: str | None

    @classmethod
    def of(cls, node: ManifestNode) -> _Place:
        return cls(node, node.schema, node.relation_name)

    def take(self) -> None:
        """Have the model stand here."""
        self.node.schema, self.node.relation_name = self.schema, self.relation_name


class Aside:
    """The models of a project that are built beside the live ones."""

    def __init__(self) -> None:
        self._live: dict[str, _Place] = {}
        self._beside: dict[str, _Place] = {}

    def put(self, node: ManifestNode, schema: str) -> None:
        """Have a model built in this schema, and read there by all that refers to it."""
        self._live[node.unique_id] = _Place.of(node)
        if node.relation_name:
            node.relation_name = node.relation_name.replace(f'"{node.schema}".', f'"{schema}".', 1)
        node.schema = schema
        self._beside[node.unique_id] = _Place.of(node)

    @property
    def ids(self) -> frozenset[str]:
        """Of the models."""
        return frozenset(self._live)

    @property
    def schemas(self) -> Mapping[Relation, str]:
        """In which schema each is built, by where it is live."""
        return {Relation(place.schema, place.node.alias): self._beside[id_].schema for id_, place in self._live.items()}

    @contextmanager
    def as_live(self) -> Iterator[None]:
        """Have all stand where readers find them while inside."""
        for place in self._live.values():
            place.take()
        try:
            yield
        finally:
            for place in self._beside.values():
                place.take()
