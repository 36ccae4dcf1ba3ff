"""Decides whether the templates of a dbt project, or of one test, could render differently in another run.

An allow-list names what a template may use; a template that uses anything else is assumed to differ. A name stands for the macros of that
name in all packages, so that never fewer macros are checked than a template calls.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jinja2 import TemplateError, meta, nodes

from refresh_runner.dbt.template_dataflow import Flow, argument, calls, dotted, is_as_of, walk

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import GenericTestNode, Macro, SingularTestNode
    from jinja2 import Environment

_OWN: Final = frozenset({"dbt", "dbt_postgres"})
"""The packages that come with dbt."""
_TEST: Final = "macro.dbt.materialization_test_default"
_OF_TESTS: Final = frozenset({"should_store_failures", "get_limit_subquery_sql", "get_test_sql", "statement"})
"""Macros that dbt calls to run a test. A project may override each of them."""
_PLAIN: Final = frozenset(
    {
        *("ref", "source", "config", "return", "execute", "this", "_dbt_generic_test_kwargs", "local_md5", "dbt_version", "project_name"),
        *("tojson", "fromjson", "toyaml", "fromyaml", "zip", "zip_strict", "diff_of_two_dicts"),
        *("as_bool", "as_native", "as_number", "as_text", "range", "dict", "namespace", "joiner", "cycler"),
        *("caller", "varargs", "kwargs", "loop"),
    }
)
"""What a template may use: its value is the same in every run, or is output."""
_PARTS: Final[Mapping[str, frozenset[str]]] = {
    "target": frozenset({"name", "schema", "type", "profile_name", "target_name"}),
    "adapter": frozenset({"dispatch", "quote", "quote_as_configured", "type"}),
    "api": frozenset({"Relation", "Column"}),
    "modules": frozenset({"re", "itertools"}),
    "exceptions": frozenset({"raise_compiler_error", "raise_not_implemented", "raise_parsing_error"}),
}
"""What a template may use of names with attributes."""
_ASKS: Final = frozenset(
    {
        *("run_query", "statement", "load_result", "store_result", "store_raw_result", "load_agate_table", "submit_python_job", "write"),
        *("run_started_at", "invocation_id", "thread_id", "env_var", "dbt_metadata_envs", "invocation_args_dict"),
        *("context", "graph", "selected_resources", "print", "set", "set_strict", "render"),
    }
)
"""What not even dbt's own macros may use. They may use all other names, whose values are the same in every run."""
_NAMING: Final = frozenset({"generate_schema_name", "generate_alias_name", "generate_database_name"})
_ELSEWHERE: Final = frozenset({"database", "schema"})
"""The location of a relation, which differs between warehouses."""
_OTHERS: Final = frozenset(
    {
        *("run_started_at", "invocation_id", "thread_id", "dbt_metadata_envs", "invocation_args_dict", "set", "set_strict"),
        *("modules", "modules.datetime", "modules.pytz", "context", "builtins"),
    }
)
"""Names whose values differ each time a project is read, or that lead to such values."""
_FUNCTION: Final = re.compile(r"\s*(env_var|ref|var|source|doc)\s*\(.+\)\s*", re.DOTALL)
"""Arguments of tests that dbt renders as templates although they have no braces."""
_RENDERED_LATER: Final = re.compile("on-run-start|on-run-end|query-comment|vars|loaded_at_query|filter|.*(pre|post)[-_]hook")
"""Settings that dbt does not render while it reads a project."""
_TESTS: Final = frozenset({"data_tests", "tests"})


@dataclass(frozen=True)
class Template:
    """One parsed template."""

    where: str
    ast: nodes.Template
    free: frozenset[str]
    """Names that the template does not define itself."""
    is_own: bool = False
    """Whether it belongs to dbt."""

    def asked(self) -> Iterator[tuple[str, nodes.Node]]:
        """Yield the names that it uses but does not define, with their attributes and their nodes."""
        inner: set[int] = set()
        for node in walk(self.ast):
            if id(node) in inner or not isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
                continue
            if (name := dotted(node)) and name.partition(".")[0] in self.free and not (isinstance(node, nodes.Name) and node.ctx != "load"):
                inner.update(id(each) for each in walk(node) if each is not node)
                yield name, node


class Templates:
    """The templates of a project."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._named: dict[str, list[Macro]] = defaultdict(list)
        for macro in manifest.macros.values():
            self._named[macro.name].append(macro)
        self._packages = {macro.package_name for macro in manifest.macros.values()}
        self._taken_apart: dict[str, Template] = {}
        self._environment = _environment()

    def why_test_may_differ(self, test: SingularTestNode | GenericTestNode) -> str | None:
        """Return why the statement of a data test may differ between runs, except for the date; None if it cannot."""
        found = self._manifest.find_materialization_macro_by_name(self._manifest.metadata.project_name or "", "test", "postgres")
        if found is None or found.unique_id != _TEST:
            return "the project overrides the materialization of tests"
        try:
            return self._why_differs(test)
        except TemplateError as error:
            return str(error)

    def why_reading_may_differ(self, settings: Iterable[tuple[str, object]]) -> str | None:
        """Return why the parsed project may differ on another date or in another warehouse, judged by its templates; None if it cannot.

        `settings` are the contents of the project's YAML files, by name.
        """
        try:
            if found := next((why for file, content in settings if (why := self._why_settings_differ(file, content))), None):
                return found
            # A model that is disabled today may be enabled tomorrow.
            every = [*self._manifest.nodes.values(), *itertools.chain.from_iterable(self._manifest.disabled.values())]
            roots = [self._template(str(code), node.unique_id) for node in every if (code := getattr(node, "raw_code", None))]
            macros = [each for each in self._reached(roots, ()) if not each.is_own]
            # dbt uses the output of these macros.
            naming = [each for each in self._reached((), _NAMING) if not each.is_own]
        except TemplateError as error:
            return str(error)
        return self._flows([*roots, *macros], _differs, is_reading=True) or self._flows(naming, _differs, is_reading=False)

    def _why_differs(self, test: SingularTestNode | GenericTestNode) -> str | None:
        roots = [self._template(str(test.raw_code), test.unique_id), *self._ephemeral(test.depends_on_nodes)]
        handed = [self._template(text, test.unique_id) for text in _handed(test)]
        macros = self._reached([*roots, *handed], _OF_TESTS)
        # dbt's own macros that run a test are known to send one statement, so only overrides are checked.
        ours = [each for each in macros if each.where not in {_TEST, *(f"macro.dbt.{name}" for name in _OF_TESTS)}]
        if why := next((why for each in [*roots, *handed, *ours] if (why := self._why_asks(each))), None):
            return why
        if dated := next((each for each in handed if any(is_as_of(node) for node in walk(each.ast))), None):
            return f"{dated.where} gets the run's date as an argument"
        return self._flows([*roots, *ours], is_as_of, is_reading=False)

    def _ephemeral(self, parents: Iterable[str]) -> Iterator[Template]:
        for id_ in parents:
            node = self._manifest.nodes.get(id_)
            if node is not None and node.is_ephemeral_model:
                yield self._template(str(node.raw_code), id_)
                yield from self._ephemeral(node.depends_on_nodes)

    def _why_asks(self, template: Template) -> str | None:
        """Return what a template uses although it may not; None if there is nothing."""
        for name, node in template.asked():
            first, _, rest = name.partition(".")
            part = rest.partition(".")[0]
            if template.is_own:
                refused = first in _ASKS or (first in {"adapter", "modules"} and part not in _PARTS[first])
            elif first in _PARTS:
                refused = part not in _PARTS[first]
            elif first in self._packages:
                refused = part not in self._named
            else:
                refused = first not in _PLAIN and first not in self._named and first != "var"
            if refused:
                return f"{template.where} uses {name} in line {node.lineno}"
        return None if template.is_own else _why_odd(template)

    def _flows(self, templates: Collection[Template], is_source: Callable[[nodes.Node], bool], *, is_reading: bool) -> str | None:
        """Return what depends on a run-specific value; None if nothing does."""
        dated: set[str] = set()
        given: set[str] = set()
        while True:
            before, why = (len(dated), len(given)), None
            for template in templates:
                flow = Flow(is_source, self._callees, dated, given, is_reading=is_reading)
                flow.follow(template.ast)
                if flow.writes and template.where in self._manifest.macros:
                    dated.add(self._manifest.macros[template.where].name)
                why = why or (f"{template.where} depends on a value that differs between runs: {flow.decides}" if flow.decides else None)
            if why or (len(dated), len(given)) == before:
                return why

    def _why_settings_differ(self, file: str, content: object, *, of_test: bool = False) -> str | None:
        """Return which run-specific value a setting uses; None if it uses none. Arguments of tests are checked elsewhere."""
        if isinstance(content, str):
            if of_test or not ("{{" in content or "{%" in content):
                return None
            template = self._template(content, file)
            if any(_differs(node) and not _is_connection(node) for node in walk(template.ast)):
                return f"{file} uses a value that differs between runs: {content!r}"
            # A name that is output, such as that of the database, shows in the comparison of two parses.
            return self._flows([template], _differs, is_reading=False)
        if isinstance(content, Mapping):
            kept = {key: each for key, each in content.items() if not _RENDERED_LATER.fullmatch(str(key))}
            parts = [(each, (of_test or key in _TESTS) and key != "config") for key, each in kept.items()]
        else:
            parts = [(each, of_test) for each in content] if isinstance(content, list) else []
        return next((why for each, tested in parts if (why := self._why_settings_differ(file, each, of_test=tested))), None)

    def _reached(self, roots: Iterable[Template], names: Iterable[str]) -> list[Template]:
        """Return all macros that templates may call, directly or indirectly, and the macros of these names."""
        found: dict[str, Template] = {}
        waiting = [*names, *(name for root in roots for name in self._called(root))]
        while waiting:
            for macro in self._named.get(waiting.pop(), ()):
                if macro.unique_id not in found:
                    found[macro.unique_id] = self._template(macro.macro_sql, macro.unique_id, is_own=macro.package_name in _OWN)
                    waiting += self._called(found[macro.unique_id])
        return list(found.values())

    def _called(self, template: Template) -> Iterator[str]:
        for name, _ in template.asked():
            first, _, rest = name.partition(".")
            yield rest.partition(".")[0] if first in self._packages or first == "builtins" else first
        for node in walk(template.ast):
            if isinstance(node, nodes.Call) and calls(node) == "adapter.dispatch":
                yield from self._dispatched(node)

    def _dispatched(self, call: nodes.Call) -> list[str]:
        return [name for name in self._named if name.partition("__")[2] == argument(call) or name == argument(call)]

    def _callees(self, call: nodes.Call) -> Collection[str]:
        """Return the names of the macros that a call may execute."""
        if isinstance(call.node, nodes.Call) and calls(call.node) == "adapter.dispatch":
            return self._dispatched(call.node)
        first, _, rest = (calls(call) or "").partition(".")
        name = rest if first in self._packages else first if not rest else ""
        return [name] if name in self._named else []

    def _template(self, text: str, where: str, *, is_own: bool = False) -> Template:
        if (known := self._taken_apart.get(text)) is None:
            ast = self._environment.parse(text)
            known = self._taken_apart[text] = Template(where, ast, frozenset(meta.find_undeclared_variables(ast)), is_own)
        return known if known.where == where else Template(where, known.ast, known.free, is_own)


def _why_odd(template: Template) -> str | None:
    """Return which construct in a template may give another result in each run, whatever names it uses; None if there is none."""
    for node in walk(template.ast):
        if isinstance(node, nodes.Getattr) and node.attr in _ELSEWHERE and dotted(node) != "target.schema":
            return f"{template.where} uses the location of a relation in line {node.lineno}"
        if isinstance(node, nodes.Filter) and node.name == "random":
            return f"{template.where} uses a random value in line {node.lineno}"
        if isinstance(node, nodes.Call) and calls(node) == "var" and not isinstance(argument(node), str):
            return f"{template.where} uses a variable with a computed name in line {node.lineno}"
        if isinstance(node, nodes.Call) and calls(node) == "adapter.dispatch" and not isinstance(argument(node), str):
            return f"{template.where} calls a macro with a computed name in line {node.lineno}"
    return None


def _differs(node: nodes.Node) -> bool:
    """Return whether the value of an expression may differ each time a project is read."""
    if isinstance(node, nodes.Call):
        return calls(node) == "var" and (is_as_of(node) or not isinstance(argument(node), str))
    if isinstance(node, nodes.Filter):
        return node.name == "random"
    name = (dotted(node) or "").removeprefix("context.").removeprefix("builtins.")
    return _is_connection(node) or name in _OTHERS


def _is_connection(node: nodes.Node) -> bool:
    """Return whether an expression is part of the warehouse's connection."""
    if isinstance(node, nodes.Getattr) and node.attr == "database":
        return True
    first, _, part = (dotted(node) or "").partition(".")
    return first == "database" or (first == "target" and part not in _PARTS["target"])


def _handed(test: SingularTestNode | GenericTestNode) -> Iterator[str]:
    """Yield a test's arguments and settings that are templates."""
    metadata = getattr(test, "test_metadata", None)
    for text in _texts([metadata.kwargs if metadata else {}, test.config.to_dict()]):
        if "{{" in text or "{%" in text:
            yield text
        elif _FUNCTION.fullmatch(text):
            yield f"{{{{ {text} }}}}"


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for each in content.values():
            yield from _texts(each)
    elif isinstance(content, list | tuple):
        for each in content:
            yield from _texts(each)


def _environment() -> Environment:
    from dbt_common.clients.jinja import get_environment

    return get_environment()
