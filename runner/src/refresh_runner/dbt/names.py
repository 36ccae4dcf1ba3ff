"""How dbt names what a project builds and reads, and what PostgreSQL makes of it: a name without quotes is one in lower case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.adapters.contracts.relation import Policy
    from dbt.adapters.postgres.relation import PostgresRelation
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import FunctionNode, ManifestNode, SourceDefinition

    Placed = ManifestNode | SourceDefinition | FunctionNode

_LOWER: Final = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


@dataclass(frozen=True)
class _Quoting:
    """What dbt takes for a project that says how its names are quoted."""

    quoting: dict[str, bool]


class Names:
    """The names of one project's nodes and sources, by its `quoting`."""

    def __init__(self, manifest: Manifest) -> None:
        said = manifest.metadata.quoting
        self._quoting = _Quoting(said.to_dict(omit_none=True) if said else {})

    def in_sql(self, node: Placed) -> str:
        """Return what dbt writes for a node or a source where something refers to it."""
        return str(self._relation(node))

    def place(self, node: Placed) -> Relation:
        """Return where PostgreSQL has a node or a source."""
        policy: Policy = self._relation(node).quote_policy
        return Relation(_in_catalog(node.schema, quoted=policy.schema), _in_catalog(node.identifier, quoted=policy.identifier))

    def _relation(self, node: Placed) -> PostgresRelation:
        from dbt.adapters.postgres.relation import PostgresRelation

        return PostgresRelation.create_from(self._quoting, node)  # type: ignore[arg-type]  # dbt's own nodes


def _in_catalog(name: str, *, quoted: bool) -> str:
    return name if quoted else name.translate(_LOWER)
