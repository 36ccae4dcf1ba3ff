"""The names of a project's nodes and sources, in dbt's SQL and in PostgreSQL's catalog. The catalog has unquoted names in lower case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.adapters.contracts.relation import Policy
    from dbt.adapters.postgres.relation import PostgresRelation
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import FunctionNode, ManifestNode, SourceDefinition

    HasRelation = ManifestNode | SourceDefinition | FunctionNode

_LOWER: Final = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


@dataclass(frozen=True)
class _Quoting:
    """Replaces a dbt project configuration, of which dbt only reads `quoting` here."""

    quoting: dict[str, bool]


class Names:
    """The names of one project, according to its `quoting`."""

    def __init__(self, manifest: Manifest) -> None:
        quoting = manifest.metadata.quoting
        self._quoting = _Quoting(quoting.to_dict(omit_none=True) if quoting else {})

    def in_sql(self, node: HasRelation) -> str:
        """Return what dbt writes into SQL for a reference to a node or a source."""
        return str(self._dbt_relation(node))

    def relation(self, node: HasRelation) -> Relation:
        """Return schema and name of a node or a source in PostgreSQL's catalog."""
        policy: Policy = self._dbt_relation(node).quote_policy
        return Relation(_in_catalog(node.schema, quoted=policy.schema), _in_catalog(node.identifier, quoted=policy.identifier))

    def _dbt_relation(self, node: HasRelation) -> PostgresRelation:
        from dbt.adapters.postgres.relation import PostgresRelation

        return PostgresRelation.create_from(self._quoting, node)  # type: ignore[arg-type]  # dbt's own nodes


def _in_catalog(name: str, *, quoted: bool) -> str:
    return name if quoted else name.translate(_LOWER)
