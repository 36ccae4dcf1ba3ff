"""Finds references to live marts that a project makes without `ref`, and uses of `ref` in string literals whose purpose is unknown.

Only the project's files are searched here; `patches/staging.py` checks the statements that dbt sends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt import names_as_text
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.nodes import node_of, parents
from refresh_runner.dbt.patches.staging import ambiguous, by_name
from refresh_runner.dbt.sql_names import code_of, named
from refresh_runner.model.step_results import Node
from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

    from refresh_runner.dbt.nodes import AnyNode

_DBTS_OWN: Final = frozenset({"dbt", "dbt_postgres"})
_CALL: Final = re.compile(r"\b(\w+)\s*\(")
_EXPRESSION: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NO_SQL: Final = re.compile(r"\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_OTHER_STATEMENT: Final = re.compile(r"\{%-?\s*(?:call|macro|raw|set\s+\w+\s*-?%\})")
"""A block whose content is not part of the model's own statement."""
_REF: Final = re.compile(r"""\bref\(\s*(?:["']\w+["']\s*,\s*)?["'](\w+)["']""")
_THIS: Final = re.compile(r"\{\{\s*this\s*\}\}")


def live_references(manifest: Manifest, nodes: Iterable[Node], marts: Mapping[str, Relation]) -> Iterator[str]:
    """Yield a message with a remedy for each node that names one of the marts (by ID). A model may name itself, as with `this`."""
    for each in nodes:
        node, own = node_of(manifest, each.id), marts.get(each.id)
        others = [relation for relation in marts.values() if relation != own]
        texts = {each.name: str(getattr(node, "raw_code", ""))}
        texts |= {f"{each.name}, by the macro {name},": text for name, text in _macros(manifest, node.depends_on.macros)}
        for who, text in texts.items():
            yield from (by_name(who, relation) for relation in named(text, others))
        yield from (by_name(f"{each.name}, by the source {name},", relation) for name, relation in _sources(manifest, node, others))
        yield from _of_texts(manifest, node, marts)
        yield from _of_hooks(manifest, node, marts.values(), own)
        yield from _of_views(manifest, node, marts)


def _sources(manifest: Manifest, node: AnyNode, marts: Collection[Relation]) -> Iterator[tuple[str, Relation]]:
    names = Names(manifest)
    for id_ in node.depends_on_nodes:
        source = manifest.sources.get(id_)
        if source and (relation := names.relation(source)) in marts:
            yield f"{source.source_name}.{source.name}", relation


def _of_hooks(manifest: Manifest, node: AnyNode, marts: Collection[Relation], own: Relation | None) -> Iterator[str]:
    for kind in ("pre_hook", "post_hook"):
        for hook in getattr(node.config, kind, None) or ():
            who = f"the {kind.replace('_', '-')} of {node.name}"
            called = [id_ for name in _CALL.findall(hook.sql) for id_ in _called(manifest, name)]
            texts = {who: hook.sql} | {f"{who}, by the macro {name},": text for name, text in _macros(manifest, called)}
            for whose, text in texts.items():
                yield from (by_name(whose, relation) for relation in named(text, marts))
            if own and kind == "pre_hook" and _THIS.search(code_of(hook.sql)):
                message = f"{who} names `this`, but {own} is built beside the live table and does not exist there yet"
                yield f"{message}: use a post-hook, or publish: Direct"


def _of_views(manifest: Manifest, node: AnyNode, marts: Mapping[str, Relation]) -> Iterator[str]:
    """Yield a message for a test that stores its failing rows as a view, which would depend on the staging relation."""
    if str(node.config.get("store_failures_as")) == "view":
        for id_ in sorted(parents(manifest, node) & marts.keys()):
            message = f"the test {node.name} stores its failing rows as a view, which would depend on the staging relation of {marts[id_]}"
            yield f"{message}: set store_failures_as: table, or publish: Direct"


def _of_texts(manifest: Manifest, node: AnyNode, marts: Mapping[str, Relation]) -> Iterator[str]:
    """Yield a message if a string literal in the node's SQL contains `ref` of a mart where it could be data or a name."""
    raw = str(getattr(node, "raw_code", ""))
    if _OTHER_STATEMENT.search(raw):
        return
    names = {(name := manifest.nodes[id_].name): f'{{{{ ref("{name}") }}}}' for id_ in marts}

    def rendered(expression: re.Match[str]) -> str:
        return next((names[name] for name in _REF.findall(expression[1]) if name in names), "_")

    try:
        names_as_text.check_texts(_EXPRESSION.sub(rendered, _NO_SQL.sub(" ", raw)), names.values())
    except names_as_text.AmbiguousNameError as error:
        yield ambiguous(node.name, error)


def _called(manifest: Manifest, name: str) -> Iterator[str]:
    return (id_ for id_, macro in manifest.macros.items() if macro.name == name)


def _macros(manifest: Manifest, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of these macros and of all macros that they call, except dbt's own."""
    pending, seen = list(ids), set[str]()
    while pending:
        id_ = pending.pop()
        macro = manifest.macros.get(id_)
        if macro is None or id_ in seen or macro.package_name in _DBTS_OWN:
            continue
        seen.add(id_)
        pending += macro.depends_on.macros
        yield macro.name, macro.macro_sql
