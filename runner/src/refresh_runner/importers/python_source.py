"""Python files as text: values that are written in them, without running anything.

A name has a value if the files bind it exactly once, to a value that is written there. Everything else is computed: what the environment,
an import, a function or a loop decides.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from refresh_runner.importers.commands import COMPUTED
from refresh_runner.importers.description import UnreadableError

_DEEPEST: Final = 50
"""Levels of names and calls that are followed."""
_LONGEST: Final = 100_000
"""Characters of a text that is put together."""
_MOST: Final = 30_000
"""Values that are read. Names that each stand for two others could take forever."""
_DELTA: Final = frozenset("weeks days hours minutes seconds milliseconds microseconds".split())
_MOMENT: Final = ("year", "month", "day", "hour", "minute", "second", "microsecond")


class ComputedError(Exception):
    """A value that is only known when the source runs."""

    def __init__(self, node: ast.AST) -> None:
        super().__init__("computed")
        self.node = node


@dataclass(frozen=True)
class Zone:
    """A time zone, by its name."""

    name: str


@dataclass(frozen=True)
class Moment:
    """A wall time, and its zone if it has one."""

    wall: datetime
    zone: str | None = None


@dataclass(frozen=True)
class Symbol:
    """An attribute such as `TestBehavior.NONE`, by its last name."""

    name: str


@dataclass
class PythonSource:
    """The files of a source, and what their names are bound to."""

    file_of: dict[ast.AST, str] = field(default_factory=dict)
    trees: list[ast.Module] = field(default_factory=list)
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    bound: dict[str, list[ast.AST | None]] = field(default_factory=dict)
    """What each name is bound to, by all files together; None for a binding that is no value, such as a loop's."""
    imported: dict[str, str] = field(default_factory=dict)
    """The last part of the original name of what is imported, by its name in the file."""
    read: int = 0
    """Number of values that have been read."""

    @classmethod
    def of(cls, contents: Mapping[str, bytes]) -> PythonSource:
        """Return the source of files by name. Raise UnreadableError if one is no Python."""
        source = cls()
        for name, content in contents.items():
            try:
                tree = ast.parse(content, name)
            except SyntaxError as error:
                raise UnreadableError(f"{name} is not valid Python: line {error.lineno}: {error.msg}") from error
            except (ValueError, RecursionError, MemoryError) as error:
                raise UnreadableError(f"{name} is not valid Python: {error}") from error
            source.trees.append(tree)
            label = f"{name} " if len(contents) > 1 else ""
            for node in ast.walk(tree):
                source.file_of[node] = label
                source._bind(node)
                for child in ast.iter_child_nodes(node):
                    source.parents[child] = node
        return source

    def _bind(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind_target(target, value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._bind_target(target, value)
            case ast.NamedExpr(target=target, value=value):
                self._bind_target(target, value)
            case ast.withitem(context_expr=value, optional_vars=target) if target is not None:
                self._bind_target(target, value)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self.bound.setdefault(name, []).append(node)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for each in names:
                    self.imported[each.asname or each.name.partition(".")[0]] = each.name.rpartition(".")[2]
            case ast.AugAssign(target=target) | ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target):
                self._bind_target(target, None)
            case ast.arg(arg=name):
                self.bound.setdefault(name, []).append(None)
            case _:
                pass

    def _bind_target(self, target: ast.AST, value: ast.AST | None) -> None:
        match target:
            case ast.Name(id=name):
                self.bound.setdefault(name, []).append(value)
            case ast.Tuple(elts=inner) | ast.List(elts=inner):
                for each in inner:
                    self._bind_target(each, None)
            case ast.Starred(value=each):
                self._bind_target(each, None)
            case _:
                pass

    def place(self, node: ast.AST) -> str:
        """Return the place of a node: `line 12`, with the file if there are several."""
        return f"{self.file_of.get(node, '')}line {getattr(node, 'lineno', 0)}"

    def nodes(self) -> Iterator[ast.AST]:
        """Yield all nodes of all files in the order of their text."""
        for tree in self.trees:
            found = [node for node in ast.walk(tree) if isinstance(node, ast.expr | ast.stmt)]
            yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))

    def calls(self, *names: str) -> list[ast.Call]:
        """Return the calls of what is named so, in the order of their text."""
        return [node for node in self.nodes() if isinstance(node, ast.Call) and self.callee(node) in names]

    def callee(self, node: ast.AST) -> str:
        """Return the last part of the name of what is called, as it is named where it is imported from; empty for anything else."""
        match node:
            case ast.Call(func=function):
                return self.callee(function)
            case ast.Name(id=name):
                return self.imported.get(name, name)
            case ast.Attribute(attr=name):
                return name
            case _:
                return ""

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what contains a node, from the inside."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def resolved(self, node: ast.AST, depth: int = 0) -> ast.AST:
        """Return what a name stands for; any other node unchanged. Raise ComputedError for a name without a single value."""
        while isinstance(node, ast.Name):
            bindings = self.bound.get(node.id, [])
            value = bindings[0] if len(bindings) == 1 else None
            depth += 1
            if value is None or depth > _DEEPEST:
                raise ComputedError(node)
            node = value
        return node

    def arguments(self, call: ast.Call, *positional: str) -> dict[str, ast.expr]:
        """Return the arguments of a call by name. `**` of a dictionary that is written in the file is taken apart.

        Raise ComputedError for other `*` and `**`.
        """
        found: dict[str, ast.expr] = {}
        for number, value in enumerate(call.args):
            if isinstance(value, ast.Starred):
                raise ComputedError(value)
            if number < len(positional):
                found[positional[number]] = value
        for keyword in call.keywords:
            found |= self.items(keyword.value) if keyword.arg is None else {keyword.arg: keyword.value}
        return found

    def items(self, node: ast.AST) -> dict[str, ast.expr]:
        """Return the values of a dictionary by key. Raise ComputedError for one that is not written in the file."""
        node = self.resolved(node)
        found: dict[str, ast.expr] = {}
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if key is None:
                        found |= self.items(value)
                    elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                        found[key.value] = value
                    else:
                        raise ComputedError(node)
            case ast.Call(func=ast.Name(id="dict")):
                found |= self.arguments(node)
            case _:
                raise ComputedError(node)
        return found

    def value(self, node: ast.AST, depth: int = 0) -> object:
        """Return a value that is written in the file: a constant, list, dictionary, timedelta, Moment, Zone or Symbol.

        In a text that is put together, COMPUTED stands for the parts that are not. Raise ComputedError for anything else, and
        UnreadableError if there are too many values.
        """
        self.read += 1
        if self.read > _MOST:
            raise UnreadableError(f"{self.place(node)}: more than {_MOST} values would have to be read")
        if depth > _DEEPEST:
            raise ComputedError(node)
        node = self.resolved(node, depth)
        match node:
            case ast.Constant(value=value):
                return value
            case ast.JoinedStr(values=parts):
                return _bounded(node, [self._part(each, depth) for each in parts])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._sum(node, left, right, depth)
            case ast.List(elts=inner) | ast.Tuple(elts=inner) | ast.Set(elts=inner):
                return [self.value(each, depth + 1) for each in inner]
            case ast.Dict():
                return {key: self.value(each, depth + 1) for key, each in self.items(node).items()}
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                number = self.value(operand, depth + 1)
                if isinstance(number, int | float):
                    return -number
            case ast.Attribute(attr=name, value=ast.Name() | ast.Attribute()):
                return Zone("Etc/UTC") if name in ("utc", "UTC") else Symbol(name)
            case ast.Call():
                return self._made(node, depth)
            case _:
                pass
        raise ComputedError(node)

    def written(self, node: ast.AST | None) -> object:
        """Return a value that is written in the file; None for any other one, or without a node."""
        try:
            return self.value(node) if node is not None else None
        except ComputedError:
            return None

    def _part(self, node: ast.AST, depth: int) -> str:
        try:
            value = self.value(node.value if isinstance(node, ast.FormattedValue) else node, depth + 1)
        except ComputedError:
            return COMPUTED
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else COMPUTED

    def _sum(self, node: ast.AST, left: ast.AST, right: ast.AST, depth: int) -> object:
        both: list[object] = []
        for side in (left, right):
            try:
                both.append(self.value(side, depth + 1))
            except ComputedError:
                both.append(None)
        match both:
            case [list(first), list(second)]:
                return [*first, *second]
            case [str() | None, str() | None] if any(both):
                return _bounded(node, [each if isinstance(each, str) else COMPUTED for each in both])
            case _:
                raise ComputedError(node)

    def _made(self, call: ast.Call, depth: int) -> object:
        """Return the value of a call that makes a length of time, a time or a time zone."""

        def text(node: ast.AST) -> object:
            return self.value(node, depth + 1)

        match self.callee(call):
            case "timedelta":
                return _delta(call, self.arguments(call, "days", "seconds"), text)
            case "duration":  # of pendulum
                return _delta(call, self.arguments(call), text)
            case "datetime":
                return _moment(call, self.arguments(call, *_MOMENT, "tzinfo"), text)
            case "ZoneInfo" | "timezone" | "gettz" | "Timezone":
                name = self.arguments(call, "key").get("key")
                value = text(name) if name is not None else None
                if isinstance(value, str):
                    return Zone(value)
            case _:
                pass
        raise ComputedError(call)


def _bounded(node: ast.AST, parts: list[str]) -> str:
    if sum(map(len, parts)) > _LONGEST:
        raise ComputedError(node)
    return "".join(parts)


Reader = Callable[[ast.AST], object]


def _delta(call: ast.Call, arguments: Mapping[str, ast.expr], read: Reader) -> timedelta:
    values = {name: read(node) for name, node in arguments.items()}
    if not values or not values.keys() <= _DELTA or not all(isinstance(each, int | float) for each in values.values()):
        raise ComputedError(call)
    try:
        return timedelta(**{name: float(str(value)) for name, value in values.items()})
    except (OverflowError, ValueError) as error:
        raise ComputedError(call) from error


def _moment(call: ast.Call, arguments: Mapping[str, ast.expr], read: Reader) -> Moment:
    values = {name: read(node) for name, node in arguments.items()}
    zones = [values.pop(name) for name in ("tzinfo", "tz") if name in values]
    zone = next((each.name if isinstance(each, Zone) else each for each in zones), None)
    numbers = {name: value for name, value in values.items() if isinstance(value, int) and name in _MOMENT}
    if len(numbers) != len(values) or not (zone is None or isinstance(zone, str)):
        raise ComputedError(call)
    try:
        return Moment(datetime(**numbers), zone)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise ComputedError(call) from error
