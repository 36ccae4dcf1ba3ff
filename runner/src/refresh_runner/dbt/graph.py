"""Read-only queries of a parsed dbt project: the nodes of a selection, what they read, and their relations in the warehouse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.engine import HookKind
from refresh_runner.dbt.errors import error_text, invalid_project
from refresh_runner.dbt.live_references import live_references
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.nodes import functions_of, is_ephemeral, node_of, parents
from refresh_runner.dbt.selectors import selected
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.data_version import TrackedRelations

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import GenericTestNode, ManifestNode, SingularTestNode, SourceDefinition
    from dbt.contracts.state import PreviousState

_NO_MATCH: Final = "does not match any"
_MODEL_KINDS: Final = ("model", "seed", "snapshot", "function")
_TABLE_KINDS: Final = frozenset({"model", "seed", "snapshot"})
_QUERY: Final = re.compile(r"\b(run_query|statement|load_result|adapter\s*\.\s*(?!quote\b|dispatch\b|type\b))")
"""By which a template gets something from the warehouse."""
_LOOKS_AT_ITSELF: Final = "macro.dbt.load_relation"
"""By which `is_incremental` finds the node's own table."""


@dataclass(frozen=True)
class Upstream:
    """A model that a selected model reads, or a function that it calls, if this refresh does not build it."""

    needed_by: str
    relation: Relation
    built_by: str | None
    is_function: bool = False


@dataclass(frozen=True)
class TableModel:
    """A model that dbt builds from scratch, as a table, in every run."""

    id: str
    has_grants: bool
    """Whether the project configures the grants of the model."""
    readers: Mapping[str, Relation]
    """The models of the same run that read it, by name, and their relations."""
    persists_docs: bool = False
    """Whether dbt writes its descriptions as comments to the warehouse."""


class ProjectGraph:
    """The nodes of one parsed project."""

    def __init__(self, manifest: Manifest, project: Path) -> None:
        self.manifest = manifest
        self._project = project
        self._names = Names(manifest)

    def models(self, selection: Selection, previous: PreviousState | None = None) -> tuple[Node, ...]:
        """Return the models, seeds, snapshots and functions of a selection; RunFailedError if one of its selectors matches none.

        `previous` is the project with which `state:` selectors compare.
        """
        return self._select(selection, _MODEL_KINDS, previous)

    def buildable(self, selection: Selection) -> tuple[Node, ...]:
        """Return the same nodes for a layer; RunFailedError also for a model that dbt cannot build on PostgreSQL."""
        found = self.models(selection)
        python = {id_ for id_, node in self.manifest.nodes.items() if str(node.resource_type) == "model" and node.language == "python"}
        if refused := [node.name for node in found if node.id in python]:
            message = f"{refused[0]} is a Python model, which dbt cannot run on PostgreSQL"
            hint = f"write it in SQL, or leave it out of the layer: exclude: [{', '.join(refused)}]"
            raise invalid_project(f"{message}: {hint}", hint)
        return found

    def previous(self, base: ProjectGraph) -> PreviousState:
        """Return another version of the project, as `state:` selectors compare with it."""
        from dbt.contracts.graph.manifest import Manifest
        from dbt.contracts.state import PreviousState

        nowhere = self._project / "no such folder"
        previous = PreviousState(nowhere, self._project / "target", self._project)
        previous.manifest = Manifest.from_writable_manifest(base.manifest.writable_manifest())
        return previous

    def modified(self, previous: PreviousState) -> frozenset[str]:
        """Return the IDs of the nodes that differ from another version of the project and of all downstream of them: `state:modified+`."""
        from dbt_common.exceptions import EventCompilationError

        try:
            with chdir(self._project):
                found = selected(self.manifest, Selection(("state:modified+",)), _MODEL_KINDS, previous)
        except EventCompilationError as error:
            # an error, like a warning in any other selection
            if _NO_MATCH not in str(error):
                raise invalid_project(error_text(error)) from error
            return frozenset()
        return frozenset(node.id for node in found)

    def materializations(self, models: Sequence[Node]) -> dict[str, str]:
        """Return the materialization of each model by ID: table, view, incremental, seed, snapshot or a custom one."""
        nodes = ((model.id, self.manifest.nodes.get(model.id)) for model in models)
        return {id_: str(node.config.materialized) for id_, node in nodes if node}

    def own_key(self, id_: str) -> tuple[str, ...]:
        """Return the columns of a model's `unique_key`, or those that dbt infers from constraints and tests; empty without either."""
        node = self.manifest.nodes[id_]
        key = node.config.get("unique_key") or getattr(node, "primary_key", None) or ()
        return (key,) if isinstance(key, str) else tuple(str(each) for each in key)

    def tests_of(self, models: Sequence[Node]) -> tuple[Node, ...]:
        """Return the data tests and unit tests that read one of these models."""
        ids = {model.id for model in models}
        nodes = self.manifest.nodes.items()
        found = [Node(id_, node.name) for id_, node in nodes if str(node.resource_type) == "test" and ids & set(node.depends_on_nodes)]
        return (*sorted(found, key=lambda test: test.id), *self.unit_tests(models))

    def tests(self, selection: Selection) -> tuple[Node, ...]:
        """Return the data tests and unit tests of a selection; RunFailedError if one of its selectors matches none."""
        return self._select(selection, ("test", "unit_test"))

    def data_tests(self, selection: Selection) -> dict[Node, SingularTestNode | GenericTestNode]:
        """Return the data tests of a selection with dbt's own objects; RunFailedError if one of its selectors matches none."""
        from dbt.contracts.graph.nodes import GenericTestNode, SingularTestNode

        found = {test: self.manifest.nodes.get(test.id) for test in self.tests(selection)}
        return {test: node for test, node in found.items() if isinstance(node, SingularTestNode | GenericTestNode)}

    def unit_tests(self, models: Sequence[Node]) -> tuple[Node, ...]:
        """Return the unit tests of these models."""
        ids = {model.id for model in models}
        found = [test for _, test in sorted(self.manifest.unit_tests.items()) if ids.intersection(test.depends_on_nodes[:1])]
        return tuple(Node(test.unique_id, test.name) for test in found)

    def sources(self, models: Sequence[Node], *, may_be_none: bool = False) -> tuple[Node, ...]:
        """Return the models' sources that declare a freshness; RunFailedError if there are none, unless `may_be_none`."""
        read = self._parents(models)
        stated = [source for id_, source in sorted(self.manifest.sources.items()) if id_ in read and source.has_freshness]
        if not stated and not may_be_none:
            raise invalid_project("no source of the layers declares a freshness and a loaded_at_field")
        return tuple(Node(source.unique_id, f"{source.source_name}.{source.name}") for source in stated)

    def upstream(self, models: Sequence[Node], built: Sequence[Node]) -> list[Upstream]:
        """Return what the models read or call, except sources and what the refresh has built before them."""
        functions, ours = functions_of(self.manifest), {model.id for model in built}
        found = {}
        for model in models:
            for parent_id in sorted(self._parents([model])):
                function = functions.get(parent_id)
                parent = function or self.manifest.nodes.get(parent_id)
                if parent is None or parent_id in ours:
                    continue
                built_by, relation = parent.config.meta.get("built_by"), self._names.relation(parent)
                found[parent_id] = Upstream(model.name, relation, str(built_by) if built_by else None, function is not None)
        return list(found.values())

    def tables(self, models: Sequence[Node]) -> dict[Relation, TableModel]:
        """Return the models that are tables, by relation."""
        nodes = [node for model in models if (node := self.manifest.nodes.get(model.id))]
        relations = self.relations(models) | self.function_relations(models)
        return {
            self._names.relation(node): TableModel(
                node.unique_id,
                bool(node.config.get("grants")),
                {
                    reader.name: relations[reader.id]
                    for reader in models
                    if reader.id in relations and node.unique_id in self._parents([reader])
                },
                any((node.config.get("persist_docs") or {}).values()),
            )
            for node in nodes
            if node.config.materialized == "table"
        }

    def relations(self, models: Sequence[Node]) -> dict[str, Relation]:
        """Return the relation of each model by ID, except functions and ephemeral models."""
        nodes = (node for model in models if (node := self.manifest.nodes.get(model.id)))
        return {node.unique_id: self._names.relation(node) for node in nodes if node.config.materialized != "ephemeral"}

    def function_relations(self, models: Sequence[Node]) -> dict[str, Relation]:
        """Return schema and name of each function among the models, by ID."""
        functions = functions_of(self.manifest)
        found = (function for model in models if (function := functions.get(model.id)))
        return {function.unique_id: self._names.relation(function) for function in found}

    def failure_relations(self, tests: Sequence[Node]) -> dict[str, Relation]:
        """Return the relation in which each test stores its failing rows, by ID, for the tests that store them."""
        nodes = (node for test in tests if (node := self.manifest.nodes.get(test.id)))
        return {node.unique_id: self._names.relation(node) for node in nodes if node.is_relational}

    def parents(self, models: Sequence[Node]) -> dict[str, tuple[str, ...]]:
        """Return the IDs of what each model reads or calls, by its own ID."""
        return {model.id: tuple(sorted(self._parents([model]))) for model in models}

    def inputs(self, nodes: Sequence[Node]) -> dict[str, set[str]]:
        """Return the IDs of what each node reads, by its own ID. A unit test takes the columns of its fixtures from these."""
        found = self.parents(nodes)
        return {node.id: self._fixtures(node.id) if node.id in self.manifest.unit_tests else set(found[node.id]) for node in nodes}

    def _fixtures(self, id_: str) -> set[str]:
        test = self.manifest.unit_tests[id_]
        model = self.manifest.nodes[test.depends_on_nodes[0]]
        reads_itself = any(given.input.strip() == "this" for given in test.given)
        return parents(self.manifest, model) | ({model.unique_id} if reads_itself else set())

    def querying(self, nodes: Sequence[Node]) -> frozenset[str]:
        """Return the IDs of the nodes whose SQL may depend on what the warehouse contains while dbt compiles them."""
        units = self.manifest.unit_tests
        return frozenset(node.id for node in nodes if node.id in units or _queries(self.manifest, self.manifest.nodes.get(node.id)))

    def reads(self, nodes: Sequence[Node]) -> set[Relation]:
        """Return every source and model that the nodes read."""
        return {self._names.relation(found) for id_ in self._parents(nodes) if (found := self._readable(id_))}

    def tracked(self, nodes: Sequence[Node], built: Sequence[Node], made: Iterable[Relation]) -> TrackedRelations:
        """Return the relations by which a run detects changes: what the nodes read, except what is `built`, and what is `made`."""
        ours = {node.id for node in built}
        read: set[Relation] = set()
        unknown = ""
        for id_ in self._parents(nodes) - ours:
            if found := self._readable(id_):
                read.add(self._names.relation(found))
            else:
                unknown = f"the run reads {id_}, which is neither a source nor a model"
        models = self.built_tables() - set(self.relations(built).values())
        return TrackedRelations(frozenset(read), models, frozenset(made), unknown)

    def live_references(self, nodes: Sequence[Node], tables: Mapping[Relation, TableModel]) -> Iterator[str]:
        """Yield a message for each node whose text names one of the tables without `ref`."""
        return live_references(self.manifest, nodes, {table.id: relation for relation, table in tables.items()})

    def built_tables(self) -> frozenset[Relation]:
        """Return all tables that the project builds, in whatever run."""
        nodes = (node for node in self.manifest.nodes.values() if str(node.resource_type) in _TABLE_KINDS)
        return frozenset(self._names.relation(node) for node in nodes if node.config.materialized not in {"view", "ephemeral"})

    def test_ids(self) -> list[str]:
        """Return the IDs of all data tests and unit tests."""
        return [*(id_ for id_, node in self.manifest.nodes.items() if str(node.resource_type) == "test"), *self.manifest.unit_tests]

    def known(self) -> frozenset[str]:
        """Return schema.name of everything that the project builds, and of its sources."""
        return frozenset(str(self._names.relation(node)) for node in self._tables_and_sources())

    def by_spelling(self) -> dict[str, Relation]:
        """Return the relation of everything that the project builds or reads, by schema.name in the project's spelling."""
        found: dict[str, Relation] = {}
        for node in self._tables_and_sources():
            relation = self._names.relation(node)
            for schema, name in ((node.schema, relation.table), (relation.schema, node.identifier), (node.schema, node.identifier)):
                found[f"{schema}.{name}"] = relation
        return found

    def columns(self) -> dict[str, frozenset[str]]:
        """Return the columns of each model by schema.name. A model without a contract has none, because its list may be incomplete."""
        from dbt.contracts.graph.nodes import ModelNode

        models = [node for node in self.manifest.nodes.values() if isinstance(node, ModelNode)]
        return {str(self._names.relation(model)): frozenset(model.columns if model.contract.enforced else ()) for model in models}

    def endpoints(self, relations: Iterable[Relation]) -> dict[Relation, tuple[str, ...]]:
        """Return the endpoints that the project's exposures declare for each of these models; an empty tuple if there are none."""
        nodes = self.manifest.nodes.items()
        models = {id_: self._names.relation(node) for id_, node in nodes if str(node.resource_type) == "model"}
        found: dict[Relation, dict[str, None]] = {relation: {} for relation in relations}
        for _, exposure in sorted(self.manifest.exposures.items()):
            endpoint = exposure.meta.get("endpoint") or exposure.config.meta.get("endpoint")
            for model in exposure.depends_on_nodes if endpoint else ():
                if (relation := models.get(model)) in found:
                    found[relation][str(endpoint)] = None
        return {relation: tuple(endpoints) for relation, endpoints in found.items()}

    def hooks(self, kind: HookKind) -> tuple[Node, ...]:
        """Return the hooks of this kind in the project and its packages."""
        operations = [node for node in self.manifest.nodes.values() if str(node.resource_type) == "operation"]
        return tuple(Node(node.unique_id, node.name) for node in operations if kind.value in node.tags)

    def _select(self, selection: Selection, kinds: Sequence[str], previous: PreviousState | None = None) -> tuple[Node, ...]:
        try:
            with chdir(self._project):  # `path:` is relative to the working directory
                found = selected(self.manifest, selection, kinds, previous)
        except Exception as error:  # dbt raises many classes of exceptions for an invalid selector
            raise invalid_project(error_text(error)) from error
        if not found:
            raise invalid_project(f"{' '.join(selection.select)} selects no {kinds[0]} of the dbt project")
        return found

    def _parents(self, nodes: Iterable[Node]) -> set[str]:
        return {parent for node in nodes for parent in parents(self.manifest, node_of(self.manifest, node.id))}

    def _readable(self, id_: str) -> SourceDefinition | ManifestNode | None:
        return self.manifest.sources.get(id_) or self.manifest.nodes.get(id_)

    def _tables_and_sources(self) -> Iterator[ManifestNode | SourceDefinition]:
        yield from (node for node in self.manifest.nodes.values() if str(node.resource_type) in _TABLE_KINDS)
        yield from self.manifest.sources.values()


def _queries(manifest: Manifest, node: ManifestNode | None) -> bool:
    if node is None:
        return False
    pending, seen = set(node.depends_on.macros), {_LOOKS_AT_ITSELF}
    texts = [str(getattr(node, "raw_code", ""))]
    while pending := pending - seen:
        seen |= pending
        macros = [macro for id_ in pending if (macro := manifest.macros.get(id_))]
        texts += [macro.macro_sql for macro in macros]
        pending = {called for macro in macros for called in macro.depends_on.macros}
    read = (manifest.nodes.get(id_) for id_ in node.depends_on_nodes)
    return any(_QUERY.search(text) for text in texts) or any(_queries(manifest, each) for each in read if each and is_ephemeral(each))
