"""Tracks values that differ between runs, such as the date, through a template: it may output them, but nothing may depend on them.

Comparing two renderings is not enough: a template that tests for Monday renders identically on two Mondays. A value that is output
unchanged differs visibly between the renderings. A value that is compared, tested or passed to dbt may leave no trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

from jinja2 import nodes

AS_OF: Final = "as_of"
"""The variable that every run sets to the current date."""
_SAYS_TO_DBT: Final = frozenset({"config", "ref", "source", "metric", "function", "builtins", "context", "model", "graph"})
"""Functions whose arguments become part of the project while it is parsed."""
BY_PARTS: Final = frozenset({"target", "modules", "context", "builtins"})
"""Names with some attributes that have the same value in every run."""
_AS_IT_IS: Final = frozenset({"string", "trim"})
"""Filters that do not change a text without surrounding spaces."""
_DIGITS: Final = re.compile(r"[\^$]?(?:\[0-9\]|\\d|\{\d+\}|-|\$)+")
"""Patterns that match either every date or no date."""


def calls(expression: nodes.Node) -> str | None:
    """Return the function of a call, as name or name.attribute; None if the expression is not a call."""
    return dotted(expression.node) if isinstance(expression, nodes.Call) else None


def dotted(expression: nodes.Node) -> str | None:
    """Return a name with its attributes, as text; None for any other expression."""
    if isinstance(expression, nodes.Name):
        return str(expression.name)
    if isinstance(expression, nodes.Getattr) and (owner := dotted(expression.node)):
        return f"{owner}.{expression.attr}"
    if isinstance(expression, nodes.Getitem) and isinstance(expression.arg, nodes.Const) and (owner := dotted(expression.node)):
        return f"{owner}.{expression.arg.value}"
    return None


def argument(call: nodes.Call) -> object:
    """Return the first argument of a call if it is a constant, else None."""
    return call.args[0].value if call.args and isinstance(call.args[0], nodes.Const) else None


def children(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield the children of a node, except the default of the variable that every run sets."""
    if isinstance(node, nodes.Call) and calls(node) == "var" and argument(node) == AS_OF:
        yield node.node
        return
    yield from node.iter_child_nodes()


def walk(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield a node and all nodes within it."""
    yield node
    for child in children(node):
        yield from walk(child)


def is_as_of(expression: nodes.Node) -> bool:
    """Return whether an expression is the run's date."""
    return isinstance(expression, nodes.Call) and calls(expression) == "var" and argument(expression) == AS_OF


class Flow:
    """Tracks run-specific values through one template: values that differ between runs."""

    def __init__(
        self,
        is_source: Callable[[nodes.Node], bool],
        callees: Callable[[nodes.Call], Collection[str]],
        dated: Collection[str],
        given: set[str],
        *,
        is_reading: bool,
    ) -> None:
        """Take the macros that output a run-specific value (`dated`), and those that get one as an argument (`given`, which grows).

        `callees` returns the macros that a call may execute. While dbt `is_reading` a project, it discards all output and skips blocks
        under `execute`. Only the arguments of its own functions matter then.
        """
        self._is_source = is_source
        self._callees = callees
        self._dated = dated
        self._given = given
        self._is_reading = is_reading
        self._names: set[str] = set()
        self.writes = False
        """Whether a run-specific value is output or returned."""
        self.decides = ""
        """What depends on a run-specific value, and in which line; empty if nothing does."""

    def follow(self, template: nodes.Node) -> None:
        """Analyse the whole template. Do so twice, because the end of a loop may set a variable that its beginning outputs."""
        for _ in range(2):
            self._visit(template)

    def _holds(self, expression: nodes.Node | None) -> bool:
        if expression is None or self._is_same_for_all(expression):
            return False
        if dotted(expression):
            return self._holds_by_name(expression)
        if self._is_source(expression):
            return True
        if isinstance(expression, nodes.Call) and any(name in self._dated for name in self._callees(expression)):
            return True
        return any(self._holds(child) for child in children(expression))

    def _holds_by_name(self, expression: nodes.Node) -> bool:
        """Return whether a name with its attributes is run-specific; some attributes may be, and others not."""
        chain = [expression]
        while isinstance(chain[-1], nodes.Getattr | nodes.Getitem):
            chain.append(chain[-1].node)
        *attributes, name = chain
        if any(self._is_source(each) for each in attributes) or (isinstance(name, nodes.Name) and name.name in self._names):
            return True
        return self._is_source(name) and not (attributes and dotted(name) in BY_PARTS)

    def _is_same_for_all(self, expression: nodes.Node) -> bool:
        """Return whether an expression only checks that a date is well-formed, which is true of every date."""
        if not isinstance(expression, nodes.Call) or calls(expression) not in {"modules.re.fullmatch", "modules.re.match"}:
            return False
        return isinstance(pattern := argument(expression), str) and bool(_DIGITS.fullmatch(pattern))

    def _writes_out(self, expression: nodes.Node) -> bool:
        """Return whether an expression contains run-specific values only unchanged, if it contains any."""
        if not self._holds(expression) or isinstance(expression, nodes.Name):
            return True
        if self._is_reading:
            return all(self._hands_on(each) for each in walk(expression) if isinstance(each, nodes.Call) and not self._is_source(each))
        if isinstance(expression, nodes.Concat):
            return all(self._writes_out(each) for each in expression.nodes)
        if isinstance(expression, nodes.Add):
            return self._writes_out(expression.left) and self._writes_out(expression.right)
        if isinstance(expression, nodes.Filter):
            return expression.name in _AS_IT_IS and expression.node is not None and self._writes_out(expression.node)
        if isinstance(expression, nodes.CondExpr):
            chosen = [each for each in (expression.expr1, expression.expr2) if each is not None]
            return not self._holds(expression.test) and all(self._writes_out(each) for each in chosen)
        if isinstance(expression, nodes.Or):
            return not self._holds(expression.left) and self._writes_out(expression.right)
        if isinstance(expression, nodes.Call):
            return self._is_source(expression) or self._hands_on(expression)
        return self._is_source(expression)

    def _hands_on(self, call: nodes.Call) -> bool:
        """Return whether a call only passes such a value on: to a macro, where it is tracked, to `return`, or to an error message."""
        arguments = [
            *call.args,
            *(each.value for each in call.kwargs),
            *(each for each in (call.dyn_args, call.dyn_kwargs) if each is not None),
        ]
        run_specific = [each for each in arguments if self._holds(each)]
        name, macros = calls(call) or "", self._callees(call)
        if run_specific:
            self._given.update(macros)
        if self._is_reading:
            return not run_specific or name.partition(".")[0] not in _SAYS_TO_DBT
        if self._holds(call.node) or not all(self._writes_out(each) for each in run_specific):
            return False
        return not run_specific or bool(macros) or name == "return" or name.startswith("exceptions.raise")

    def _visit(self, node: nodes.Node) -> None:
        match node:
            case nodes.Output():
                for each in node.nodes:
                    self._note(each)
            case nodes.ExprStmt():
                self._note(node.node)
            case nodes.Assign():
                self._assign(node)
            case nodes.AssignBlock():
                if self._writes_in(node.body):
                    self._assign_to(node.target, node)
            case nodes.If():
                self._visit_if(node)
            case nodes.Macro():
                if self._own_name(node) in self._given:
                    self._names.update(argument.name for argument in node.args)
                self._check(node, node.defaults)
                self._visit_all(node.body)
            case nodes.For():
                self._check(node, [node.iter, *([node.test] if node.test else [])], [*node.body, *node.else_])
                self._visit_all([*node.body, *node.else_])
            case nodes.CallBlock() | nodes.FilterBlock():
                if self._writes_in(node.body) or any(self._holds(each) for each in node.iter_child_nodes() if isinstance(each, nodes.Expr)):
                    self._decide(node, "a block")
            case nodes.Stmt():
                self._check(node, [each for each in node.iter_child_nodes() if isinstance(each, nodes.Expr)])
                self._visit_all(each for each in node.iter_child_nodes() if not isinstance(each, nodes.Expr))
            case _:
                self._visit_all(node.iter_child_nodes())

    def _visit_all(self, found: Collection[nodes.Node] | Iterator[nodes.Node]) -> None:
        for each in found:
            self._visit(each)

    def _visit_if(self, node: nodes.If) -> None:
        if not (self._is_reading and _asks_for_execution(node.test)):
            self._check(node, [node.test], [*node.body, *node.elif_, *node.else_])
            self._visit_all(node.body)
        self._visit_all([*node.elif_, *node.else_])

    def _assign(self, node: nodes.Assign) -> None:
        if self._holds(node.node):
            self._check(node, [] if self._writes_out(node.node) else [node.node])
            self._assign_to(node.target, node)
        elif not self._writes_out(node.node):
            self._decide(node, "an assignment")

    def _assign_to(self, target: nodes.Node, node: nodes.Node) -> None:
        if isinstance(target, nodes.Name):
            self._names.add(target.name)
        else:
            self._decide(node, "an assignment")

    def _writes_in(self, body: Collection[nodes.Node]) -> bool:
        """Analyse the nodes; return whether they output a run-specific value."""
        before, self.writes = self.writes, False
        self._visit_all(body)
        within, self.writes = self.writes, before or self.writes
        return within

    def _note(self, expression: nodes.Node) -> None:
        if self._holds(expression):
            self.writes = True
            if not self._writes_out(expression):
                self._decide(expression, "an expression")

    def _check(self, node: nodes.Node, expressions: Collection[nodes.Node], body: Collection[nodes.Node] | None = None) -> None:
        """Record if a run-specific value decides whether a body is executed, unless the body only outputs text."""
        only_writes = self._is_reading and body is not None and not any(_acts(within) for each in body for within in walk(each))
        if not only_writes and any(self._holds(each) for each in expressions):
            self._decide(node, f"`{type(node).__name__.lower()}`")

    def _decide(self, node: nodes.Node, what: str) -> None:
        self.decides = self.decides or f"{what} in line {node.lineno}"

    @staticmethod
    def _own_name(macro: nodes.Macro) -> str:
        return str(macro.name).removeprefix("dbt_macro__")


def _acts(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Call | nodes.Assign | nodes.AssignBlock | nodes.ExprStmt)


def _asks_for_execution(test: nodes.Node) -> bool:
    while isinstance(test, nodes.And):
        test = test.left
    return isinstance(test, nodes.Name) and test.name == "execute"
