"""Rules for a dbt project, as functions of the manifest that return violations in words: those of dbt-project-evaluator, and our own.

That package needs a package registry and builds tables in the warehouse. Here each rule is a query of the manifest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import GenericTestNode, ModelNode, UnitTestDefinition

Rule = Callable[[Manifest], Iterator[str]]

_TYPES = {
    "nb_": {"integer", "bigint"},
    "date_": {"date"},
    "montant_": {"numeric(16,2)", "numeric(18,2)", "numeric(20,2)"},
    "superficie_": {"numeric(16,2)", "numeric(20,2)"},
    "taux_": {"numeric(9,4)"},
    "part_": {"numeric(9,4)"},
    "est_": {"boolean"},
}
"""Allowed types by the prefix of a column's name."""


def models(manifest: Manifest) -> list[ModelNode]:
    """Return all models of the project."""
    return [node for node in manifest.nodes.values() if isinstance(node, ModelNode)]


def layer(model: ModelNode) -> str:
    """Return a model's folder below models."""
    return str(model.path).split("/")[0]


def _parents(manifest: Manifest, model: ModelNode) -> list[ModelNode]:
    found = [manifest.nodes.get(parent) for parent in model.depends_on.nodes]
    return [parent for parent in found if isinstance(parent, ModelNode)]


def _sources(model: ModelNode) -> list[str]:
    return [parent for parent in model.depends_on.nodes if parent.startswith("source.")]


def only_staging_reads_sources(manifest: Manifest) -> Iterator[str]:
    """Direct joins to sources, root models, several sources in one staging model."""
    for model in models(manifest):
        count = len(_sources(model))
        if layer(model) == "staging" and count != 1:
            yield f"{model.name} reads {count} sources"
        if layer(model) != "staging" and count:
            yield f"{model.name} reads a source"
        if not model.depends_on.nodes and model.name != "dim_calendrier":
            yield f"{model.name} reads nothing"


def each_source_is_read_once(manifest: Manifest) -> Iterator[str]:
    """Unused sources, source fan-out, two sources on one table."""
    readers = Counter(source for model in models(manifest) for source in _sources(model))
    for source in manifest.sources.values():
        if readers[source.unique_id] != 1:
            yield f"{source.name} is read by {readers[source.unique_id]} models"
    tables = Counter((source.schema, source.identifier) for source in manifest.sources.values())
    yield from (f"{table} is a source twice" for table, count in tables.items() if count > 1)


def layers_build_on_earlier_ones(manifest: Manifest) -> Iterator[str]:
    """Staging on staging, a layer on a later one; marts read no marts, so that they can be published together."""
    before = {"staging": set(), "dimensions": {"staging"}, "facts": {"staging"}, "marts": {"staging", "dimensions", "facts"}}
    for model in models(manifest):
        for parent in _parents(manifest, model):
            if layer(parent) not in before[layer(model)]:
                yield f"{model.name} reads {parent.name}"


def nothing_is_joined_again(manifest: Manifest) -> Iterator[str]:
    """Rejoining of upstream concepts: a model with one reader, which also reads that model's parents."""
    readers = Counter(parent.unique_id for model in models(manifest) for parent in _parents(manifest, model))
    for model in models(manifest):
        parents = {parent.unique_id: parent for parent in _parents(manifest, model)}
        for parent in parents.values():
            if readers[parent.unique_id] == 1 and {each.unique_id for each in _parents(manifest, parent)} & parents.keys():
                yield f"{model.name} joins the parents of {parent.name} again"


def no_view_stands_on_a_model(manifest: Manifest) -> Iterator[str]:
    """Chained views; and dbt silently drops any view on a table that it replaces."""
    for model in models(manifest):
        if model.config.materialized == "view" and _parents(manifest, model):
            yield f"{model.name} is a view on a model"


def models_name_no_table(manifest: Manifest) -> Iterator[str]:
    """Hard-coded references: a schema in the SQL would miss a mart that is built in its staging schema."""
    schemas = {model.schema for model in models(manifest)} | {source.schema for source in manifest.sources.values()}
    named = re.compile(rf"\b({'|'.join(sorted(schemas))})\.\w+")
    for model in models(manifest):
        if found := named.search(model.raw_code):
            yield f"{model.name} names {found[0]}"


def fan_out_is_bounded(manifest: Manifest) -> Iterator[str]:
    """Model fan-out: more readers than this call for an intermediate model."""
    readers = Counter(parent.name for model in models(manifest) for parent in _parents(manifest, model))
    yield from (f"{name} has {count} readers" for name, count in readers.items() if count > 3)


def every_model_has_a_tested_key(manifest: Manifest) -> Iterator[str]:
    """Missing primary key tests: one column of each model is unique and not null."""
    tested: dict[str | None, set[tuple[str, str | None]]] = {}
    for node in manifest.nodes.values():
        if isinstance(node, GenericTestNode):
            tested.setdefault(node.attached_node, set()).add((node.test_metadata.name, node.column_name))
    for model in models(manifest):
        found = tested.get(model.unique_id, set())
        if not any(("unique", column) in found and ("not_null", column) in found for column in model.columns):
            yield f"{model.name} has no key that is tested"


def every_model_with_logic_has_a_unit_test(manifest: Manifest) -> Iterator[str]:
    """All except those that only select columns; the calendar is compared with Python's, day by day."""
    known = {test.model for test in manifest.unit_tests.values() if isinstance(test, UnitTestDefinition)}
    for model in models(manifest):
        if model.name not in known | {"dim_zones", "dim_entreprises", "dim_calendrier"}:
            yield f"{model.name} has no unit test"


def everything_is_described(manifest: Manifest) -> Iterator[str]:
    """Documentation coverage of 100 %: models, sources, columns, groups, unit tests, exposures."""
    for part in (manifest.sources, manifest.exposures, manifest.unit_tests, manifest.groups):
        yield from (f"{name} is not described" for name, node in part.items() if not node.description)
    yield from (f"{model.name} is not described" for model in models(manifest) if not model.description)
    columns = [(model.name, model.columns) for model in models(manifest)] + [
        (each.name, each.columns) for each in manifest.sources.values()
    ]
    yield from (f"{name}.{column.name} is not described" for name, found in columns for column in found.values() if not column.description)


def groups_own_what_is_read(manifest: Manifest) -> Iterator[str]:
    """Every model has a group whose owner can be contacted; staging is private to its group, marts are public with a contract."""
    access = {"staging": "private", "dimensions": "protected", "facts": "protected", "marts": "public"}
    owned = {group.name for group in manifest.groups.values() if group.owner.name and group.owner.email}
    for model in models(manifest):
        if model.group not in owned:
            yield f"{model.name} belongs to nobody"
        if model.access != access[layer(model)]:
            yield f"{model.name} is {model.access}"
        if layer(model) != "staging" and not model.config.contract.enforced:
            yield f"{model.name} promises nothing"


def dashboards_read_public_tables(manifest: Manifest) -> Iterator[str]:
    """Exposures on private models or views; exposures without endpoint, owner or mart."""
    for exposure in manifest.exposures.values():
        for parent in exposure.depends_on.nodes:
            model = manifest.nodes[parent]
            if not isinstance(model, ModelNode) or model.access != "public" or model.config.materialized != "table":
                yield f"{exposure.name} reads {parent}"
        if not (exposure.depends_on.nodes and exposure.url and exposure.owner.email and exposure.config.meta.get("endpoint")):
            yield f"{exposure.name} is incomplete"


def files_are_where_they_are_looked_for(manifest: Manifest) -> Iterator[str]:
    """Model, source and test directories: properties are in the model's folder, and names begin with their layer's prefix."""
    prefixes = {"staging": "stg_", "dimensions": "dim_", "facts": "fait_", "marts": "mart_"}
    for model in models(manifest):
        described = str(model.patch_path).partition("://")[2].rpartition("/")[0]
        if described != str(model.original_file_path).rpartition("/")[0]:
            yield f"{model.name} is described in {described}"
        if not model.name.startswith(prefixes[layer(model)]) or len(model.name) > 50:
            yield f"{model.name} is no name for its layer"


def columns_are_named_by_what_they_are(manifest: Manifest) -> Iterator[str]:
    """nb_ is a count, date_ a day, montant_ an amount with two decimals, taux_ and part_ a share; lower case without accents."""
    for model in models(manifest):
        for column in model.columns.values():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", column.name):
                yield f"{model.name}.{column.name} is no name"
            for beginning, types in _TYPES.items():
                if column.data_type and column.name.startswith(beginning) and column.data_type not in types:
                    yield f"{model.name}.{column.name} is a {column.data_type}"
            if column.data_type and "jours" in column.name and column.data_type not in {"integer", "numeric(10,2)"}:
                yield f"{model.name}.{column.name} is a {column.data_type}"


RULES: tuple[Rule, ...] = (
    only_staging_reads_sources,
    each_source_is_read_once,
    layers_build_on_earlier_ones,
    nothing_is_joined_again,
    no_view_stands_on_a_model,
    models_name_no_table,
    fan_out_is_bounded,
    every_model_has_a_tested_key,
    every_model_with_logic_has_a_unit_test,
    everything_is_described,
    groups_own_what_is_read,
    dashboards_read_public_tables,
    files_are_where_they_are_looked_for,
    columns_are_named_by_what_they_are,
)
