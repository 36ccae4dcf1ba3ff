"""Describes compiled nodes of a dbt project to the part of the runner that decides whether their earlier results are still right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.engine import Candidate, CandidateKind, ColumnRule
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.nodes import parents
from refresh_runner.dbt.sql_text import normalized
from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import ManifestNode, UnitTestNode

_OWN: Final = frozenset({"dbt", "dbt_postgres"})
"""The packages that come with dbt."""
_KINDS: Final = {"table": CandidateKind.TABLE, "view": CandidateKind.VIEW, "seed": CandidateKind.SEED, "test": CandidateKind.TEST}
_NO_EFFECT: Final = frozenset({"tags", "meta", "docs", "group", "access", "enabled", "description", "pre-hook", "post-hook", "severity"})
"""Settings that do not change what dbt builds; hooks are judged separately, and a test's severity is applied to its stored verdict."""
_JUDGED_ELSEWHERE: Final = frozenset({"generate_schema_name", "generate_alias_name", "generate_database_name", "ref", "source"})
"""Macros whose results are in the name of a node or in its compiled SQL."""
_ADAPTER: Final = re.compile(r"adapter\s*\.\s*(?!quote\b)\w+")
_RULES: Final = frozenset({"not_null", "unique"})
_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
"""A column's name that is the same in PostgreSQL's catalog."""
_USUAL: Final = {"where": None, "limit": None, "fail_calc": "count(*)", "warn_if": "!= 0", "error_if": "!= 0"}
"""Settings of a test that are dbt's own."""
_WORD: Final = re.compile(r"\w+")
_ASKS: Final = frozenset(
    "var env_var run_query statement load_result run_started_at invocation_id thread_id graph flags context dispatch random"
    " datetime pytz selected_resources invocation_args_dict dbt_metadata_envs submit_python_job".split()
)
"""Words in a macro by which its result may be another one in another run."""


class Candidates:
    """Describes the nodes of one project, as they are before any model is staged."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._names = Names(manifest)
        self._live = {node.unique_id: self._names.relation(node) for node in manifest.nodes.values() if node.is_relational}
        self._overrides = _Overrides(manifest)
        self._with_hooks = {
            node.unique_id
            for node in manifest.nodes.values()
            if any(getattr(node.config, name, None) for name in ("pre_hook", "post_hook"))
        }

    def of(self, node: ManifestNode | UnitTestNode, staged: Mapping[str, str]) -> Candidate:
        """Return a compiled node. `staged` are dbt's names of staging relations, by dbt's names of the live ones."""
        is_test, is_unit_test = (str(node.resource_type) == each for each in ("test", "unit_test"))
        materialized = "test" if is_test else str(node.config.materialized)
        kind = CandidateKind.TEST if is_unit_test else _KINDS.get(materialized, CandidateKind.OTHER)
        read = {id_: self._relation_of(id_) for id_ in parents(self._manifest, node)}
        compiled = str(getattr(node, "compiled_code", "") or "")
        statement = _with_expected(node, compiled) if is_unit_test else compiled
        return Candidate(
            id=node.unique_id,
            name=node.name,
            kind=kind,
            relation=self._live.get(node.unique_id) if kind is not CandidateKind.TEST else None,
            built_as=self._names.relation(node) if node.is_relational else None,
            statement=statement,
            recipe=self._recipe(node, kind, with_live_names(statement, staged)),
            reads=frozenset(relation for relation in read.values() if relation),
            places={
                self._names.relation(self._manifest.nodes[id_]): live for id_, live in read.items() if live and id_ in self._manifest.nodes
            },
            unfit=next(self._unfit(node, kind, materialized), ""),
            is_strict=is_unit_test or str(node.config.get("severity", "")).lower() == "error",
            rule=self._rule(node) if kind is CandidateKind.TEST else None,
        )

    def _rule(self, node: ManifestNode) -> ColumnRule | None:
        """Return the rule of one of dbt's own tests with its default settings, if a constraint of PostgreSQL can enforce it."""
        metadata, attached = getattr(node, "test_metadata", None), getattr(node, "attached_node", None)
        model = self._manifest.nodes.get(attached) if attached else None
        if metadata is None or model is None or metadata.namespace or f"macro.dbt.test_{metadata.name}" not in node.depends_on.macros:
            return None
        column = str(metadata.kwargs.get("column_name", ""))
        is_plain = metadata.name in _RULES and set(metadata.kwargs) == {"column_name", "model"} and _PLAIN_NAME.fullmatch(column)
        usual = {name: node.config.get(name) for name in _USUAL}
        return ColumnRule(metadata.name, self._names.relation(model), column) if is_plain and usual == _USUAL else None

    def _relation_of(self, id_: str) -> Relation | None:
        source = self._manifest.sources.get(id_)
        return self._names.relation(source) if source else self._live.get(id_)

    def _recipe(self, node: ManifestNode, kind: CandidateKind, statement: str) -> str:
        is_idempotent = _is_idempotent(node)
        # A materialization of the project may read any setting, and call any macro.
        ignored = frozenset[str]() if is_idempotent else _NO_EFFECT
        config = {name: value for name, value in node.config.to_dict(omit_none=False).items() if name not in ignored}
        has_comments = any((config.get("persist_docs") or {}).values())
        columns = [
            {**column.to_dict(omit_none=False), "description": column.description if has_comments else ""}
            for column in node.columns.values()
        ]
        for column in columns:
            for name in () if is_idempotent else ("meta", "tags", "config", "doc_blocks"):
                column.pop(name, None)
        parts = (
            str(kind),
            self._overrides.all_macros if is_idempotent else "",
            normalized(statement),
            str(self._live.get(node.unique_id)) if kind is not CandidateKind.TEST else "",
            config,
            columns,
            [constraint.to_dict() for constraint in getattr(node, "constraints", None) or ()],
            node.description if has_comments else "",
            node.checksum.checksum if kind is CandidateKind.SEED else "",
            self._overrides.digest,
        )
        return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def _unfit(self, node: ManifestNode, kind: CandidateKind, materialized: str) -> Iterator[str]:
        if not _is_idempotent(node):
            if kind is CandidateKind.OTHER:
                yield f"{materialized} models are always built"
            macro = self._manifest.find_materialization_macro_by_name(self._manifest.metadata.project_name or "", materialized, "postgres")
            if macro is None or macro.package_name not in _OWN:
                yield f"the project has a materialization {materialized} of its own"
        if node.unique_id in self._with_hooks:
            yield "it has hooks"
        if node.config.get("sql_header") or "sql_header" in str(getattr(node, "raw_code", "")):
            yield "it has an SQL header"
        if kind is CandidateKind.TEST and (node.is_relational or node.config.get("store_failures")):
            yield "it stores its failing rows"
        if kind is CandidateKind.SEED and node.checksum.name != "sha256":
            yield "its file is too large for dbt to compare"
        if any(str(constraint.type) == "foreign_key" for constraint in getattr(node, "all_constraints", None) or ()):
            yield "it has a foreign key"
        if self._overrides.unfit:
            yield self._overrides.unfit


def _with_expected(node: ManifestNode | UnitTestNode, compiled: str) -> str:
    """Return a query with all on which a unit test's verdict depends: the model's SQL on the fixtures, and the expected rows.

    Expected rows that are given as values become a literal.
    """
    rows = json.dumps(node.config.get("expected_rows"), default=str).replace("'", "''")
    expected = node.config.get("expected_sql") or f"select '{rows}' as rows"
    return f"with dbt_internal_unit_test_actual as (\n{compiled}\n), dbt_internal_unit_test_expected as (\n{expected}\n) select 1"


def _is_idempotent(node: ManifestNode) -> bool:
    """Return whether the project says that building a model again from the same rows changes nothing: `meta: {idempotent: true}`.

    A microbatch model reads other rows at another time, and a snapshot is never the same.
    """
    is_model = str(node.resource_type) == "model" and node.config.get("incremental_strategy") != "microbatch"
    return is_model and (node.config.get("meta") or {}).get("idempotent") is True


def with_live_names(statement: str, staged: Mapping[str, str]) -> str:
    """Return a statement with dbt's names of live relations in place of the staging ones."""
    for live, place in staged.items():
        statement = statement.replace(place, live)
    return statement


class _Overrides:
    """The project's macros that replace macros of dbt with which dbt builds and tests nodes."""

    def __init__(self, manifest: Manifest) -> None:
        own = {_plain(macro.name) for macro in manifest.macros.values() if macro.package_name in _OWN} - _JUDGED_ELSEWHERE
        ours = {macro.unique_id: macro for macro in manifest.macros.values() if macro.package_name not in _OWN}
        by_name: dict[str, set[str]] = {}
        for id_, macro in ours.items():
            by_name.setdefault(macro.name, set()).add(id_)
        found = {id_ for id_, macro in ours.items() if _plain(macro.name) in own and not macro.name.startswith("test_")}
        pending = set(found)
        while pending:
            # Each word that is a macro's name counts as a call of it.
            called = set(_WORD.findall(ours[pending.pop()].macro_sql)) & by_name.keys()
            new = {id_ for name in called for id_ in by_name[name]} - found
            pending, found = pending | new, found | new
        texts = {id_: ours[id_].macro_sql for id_ in sorted(found)}
        self.digest = _digest(texts)
        self.all_macros = _digest({id_: macro.macro_sql for id_, macro in sorted(ours.items())})
        """Of all macros of the project: a materialization of its own may call any of them."""
        asked = ((ours[id_].name, word) for id_, text in texts.items() for word in sorted(_ASKS.intersection(_WORD.findall(text))))
        asked_of_adapter = ((ours[id_].name, found[0]) for id_, text in texts.items() for found in _ADAPTER.finditer(text))
        self.unfit = next((f"the macro {name} replaces one of dbt's, and uses {word}" for name, word in chain(asked, asked_of_adapter)), "")


def _digest(texts: Mapping[str, str]) -> str:
    return sha256(json.dumps(texts).encode()).hexdigest()


def _plain(name: str) -> str:
    return name.removeprefix("default__").removeprefix("postgres__")
