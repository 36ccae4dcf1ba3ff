"""The tasks of an Airflow DAG: what each runs, and their order."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Final

from refresh_runner.importers import cosmos
from refresh_runner.importers.commands import COMPUTED
from refresh_runner.importers.cosmos import Arguments, Profile
from refresh_runner.importers.description import Note
from refresh_runner.importers.hidden import hidden_leaves, is_secret
from refresh_runner.importers.python_source import ComputedError, PythonSource
from refresh_runner.importers.shell import Script, of_script, of_words

_SILENT: Final = ("EmptyOperator", "DummyOperator", "LatestOnlyOperator")
"""Operators that do nothing."""
_PODS: Final = ("KubernetesPodOperator",)


@dataclass(frozen=True)
class Task:
    """A task of a DAG."""

    node: ast.AST
    names: frozenset[str]
    """Variables that hold it, or a group with it."""
    script: Script
    label: str = ""
    timeout: timedelta | None = None
    retries: int | None = None
    emails: tuple[str, ...] = ()
    profile: Profile = field(default_factory=Profile)


class TaskReader:
    """Reads the tasks of one DAG."""

    def __init__(self, source: PythonSource, defaults: Arguments) -> None:
        self._source = source
        self._defaults = defaults

    def task(self, node: ast.AST) -> Task | None:
        """Return the task that a call or a function makes; None if it makes none."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return self._of_function(node)
        if not isinstance(node, ast.Call):
            return None
        callee, place = self._source.callee(node), self._source.place(node)
        try:
            arguments: Arguments = self._source.arguments(node)
            incomplete: tuple[Note, ...] = ()
        except ComputedError:
            arguments = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            incomplete = (Note(place, f"some arguments of {callee} are computed when the DAG is loaded, and not read", decide=True),)
            if callee in cosmos.GROUPS or cosmos.OPERATOR.fullmatch(callee):
                # the selection may be one of them
                return self._with_settings(node, Script(notes=incomplete), arguments)
        script = self._script(callee, arguments, place)
        if script is None:
            return None
        return self._with_settings(node, replace(script, notes=(*incomplete, *script.notes)), arguments)

    def _script(self, callee: str, arguments: Arguments, place: str) -> Script | None:
        source = self._source
        if callee in cosmos.GROUPS:
            return cosmos.of_group(source, arguments, place)
        if cosmos.OPERATOR.fullmatch(callee):
            return cosmos.of_operator(source, callee, arguments, place)
        if callee == "BashOperator":
            return self._of_bash(arguments, place)
        if callee in _PODS:
            return self._of_pod(arguments, place)
        if callee in _SILENT:
            return Script()
        if callee.endswith("Sensor"):
            return _said(place, f"{callee} waits for something else: see `dependsOn` and `sources`, or start the refresh when it is there")
        if callee == "DbtCloudRunJobOperator":
            return _said(place, f"{callee} runs a job of the dbt platform: import that job")
        if callee.endswith("Operator"):
            return _said(place, f"{callee} is not dbt: have another Job do it, before this refresh or after it")
        return None

    def _of_bash(self, arguments: Arguments, place: str) -> Script:
        try:
            command = self._source.value(arguments["bash_command"])
            if not isinstance(command, str):
                raise ComputedError(arguments["bash_command"])
        except (ComputedError, KeyError):
            return _said(place, "BashOperator is not converted: bash_command is computed when the DAG is loaded")
        script = of_script(command, place, self.text(arguments.get("cwd")))
        environment = self._items(arguments.get("env"))
        values = {name: self._source.value(node) for name, node in environment.items() if self._is_written(node)}
        hidden = tuple(hidden_leaves(values))
        secret = [name for name in environment if is_secret(name, values.get(name))]
        others = [name for name in environment if name not in secret]
        notes = [Note(place, f"the variable {name} may be a secret and is not copied: put it into a Secret", True) for name in secret]
        notes += [Note(place, f"variables that are not copied: {', '.join(others)}; models read `dbt.vars`")] if others else []
        return replace(script, notes=(*script.notes, *notes), hidden=(*script.hidden, *hidden))

    def _of_pod(self, arguments: Arguments, place: str) -> Script:
        words: list[str] = []
        for name in ("cmds", "arguments"):
            try:
                value = self._source.value(arguments[name]) if name in arguments else []
            except ComputedError:
                return _said(place, f"the pod is not converted: {name} is computed when the DAG is loaded")
            words += [str(each) for each in value] if isinstance(value, list) else [COMPUTED]
        if not words:
            return _said(place, "the pod runs the command of its image, which is not in the file")
        return of_words(words, place)

    def _of_function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Task | None:
        """Return the task of a function that a decorator of Airflow makes one."""
        kinds = [kind for each in function.decorator_list if (kind := self._kind_of_task(each)) is not None]
        if not kinds:
            return None
        place = self._source.place(function)
        returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
        script = _said(place, f"the task {function.name} is Python, not dbt: have another Job do it, before this refresh or after it")
        if kinds == ["bash"] and len(returned) == 1 and returned[0] is not None:
            try:
                script = of_script(str(self._source.value(returned[0])), place)
            except ComputedError:
                script = _said(place, f"the task {function.name} is not converted: its command is computed when it runs")
        return replace(self._with_settings(function, script, {}), label=function.name, names=self._names(function) | {function.name})

    def _kind_of_task(self, decorator: ast.AST) -> str | None:
        """Return the kind of a decorator `@task`, `@task(…)` or `@task.kind`; None for another decorator."""
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(node, ast.Attribute) and self._source.callee(node.value) == "task":
            return node.attr
        return "" if self._source.callee(node) == "task" and isinstance(node, ast.Name | ast.Attribute) else None

    def _with_settings(self, node: ast.AST, script: Script, arguments: Arguments) -> Task:
        given = {**self._defaults, **self._items(arguments.get("default_args")), **arguments}
        label = self.text(arguments.get("task_id")) or self.text(arguments.get("group_id")) or ""
        retries, timeout = (self._source.written(given.get(name)) for name in ("retries", "execution_timeout"))
        notes = list(script.notes)
        if "trigger_rule" in arguments and script.commands:
            notes.append(Note(self._source.place(node), "trigger_rule has no counterpart: a refresh ends after a failed layer"))
        for name in ("email", "execution_timeout", "retries"):
            if script.commands and name in given and not self._is_written(given[name]):
                notes.append(
                    Note(self._source.place(given[name]), f"{name} is computed when the DAG is loaded, and not copied", decide=True)
                )
        notes += self._condition(node)
        return Task(
            node=node,
            names=self._names(node),
            script=replace(script, notes=tuple(notes)),
            label="" if COMPUTED in label else label,
            timeout=timeout if isinstance(timeout, timedelta) else None,
            retries=retries if isinstance(retries, int) and not isinstance(retries, bool) else None,
            emails=self._emails(given) if script.commands else (),
            profile=cosmos.profile(self._source, arguments) if "profile_config" in arguments else Profile(),
        )

    def _condition(self, node: ast.AST) -> Iterator[Note]:
        for ancestor in self._source.ancestors(node):
            if isinstance(ancestor, ast.If | ast.IfExp | ast.For | ast.While | ast.comprehension | ast.Try):
                yield Note(self._source.place(node), "the task is made in a loop or under a condition: it is taken once", decide=True)
                return

    def _emails(self, given: Arguments) -> tuple[str, ...]:
        value = self._source.written(given.get("email"))
        if self._source.written(given.get("email_on_failure")) is False:
            return ()
        texts = value if isinstance(value, list) else [value]
        return tuple(part.strip() for each in texts if isinstance(each, str) for part in each.replace(";", ",").split(",") if part.strip())

    def _names(self, node: ast.AST) -> frozenset[str]:
        """Return the variables that hold a task, or a group with it."""
        found = set()
        inner: ast.AST = node
        for parent in self._source.ancestors(node):
            match parent:
                case ast.Assign(targets=targets) if inner is node:
                    found |= {target.id for target in targets if isinstance(target, ast.Name)}
                case ast.With(items=items):
                    found |= {item.optional_vars.id for item in items if isinstance(item.optional_vars, ast.Name)}
                case _:
                    pass
            inner = parent
        return frozenset(found)

    def text(self, node: ast.AST | None) -> str | None:
        """Return a text that is written in the file, with COMPUTED for other parts; None for anything else."""
        value = self._source.written(node)
        return value if isinstance(value, str) else None

    def _items(self, node: ast.AST | None) -> Mapping[str, ast.expr]:
        try:
            return self._source.items(node) if node is not None else {}
        except ComputedError:
            return {}

    def _is_written(self, node: ast.AST) -> bool:
        try:
            self._source.value(node)
        except ComputedError:
            return False
        return True


def _said(place: str, text: str) -> Script:
    return Script(notes=(Note(place, text, decide=True),))


def in_order(source: PythonSource, tasks: Sequence[Task], statements: Iterable[ast.AST]) -> tuple[list[Task], list[Note]]:
    """Return the tasks in the order in which they run, and notes on what is unknown of it. Otherwise they stay in that of the file."""
    order = _Order(source, tasks)
    for statement in statements:
        if isinstance(statement, ast.Expr):
            order.read(statement.value)
    return order.sorted(), order.notes


class _Order:
    """Collects which task runs after which."""

    def __init__(self, source: PythonSource, tasks: Sequence[Task]) -> None:
        self._source = source
        self._tasks = tasks
        self._before: list[set[int]] = [set() for _ in tasks]
        self._is_ours = False
        """Whether the statement names one of the tasks."""
        self.notes: list[Note] = []

    def read(self, node: ast.expr) -> None:
        """Read a statement that orders tasks."""
        notes, self._is_ours = len(self.notes), False
        self._read(node)
        if not self._is_ours:  # of another DAG
            del self.notes[notes:]

    def _read(self, node: ast.expr) -> None:
        match node:
            case ast.BinOp(op=ast.RShift() | ast.LShift()):
                self._flow(node)
            case ast.Call() if self._source.callee(node) == "chain":
                groups = [self._flow(each) for each in node.args]
                for first, second in pairwise(groups):
                    self._add(first, second)
            case ast.Call(func=ast.Attribute(value=task, attr="set_downstream"), args=[other, *_]):
                self._add(self._flow(task), self._flow(other))
            case ast.Call(func=ast.Attribute(value=task, attr="set_upstream"), args=[other, *_]):
                self._add(self._flow(other), self._flow(task))
            case _:
                pass

    def _flow(self, node: ast.AST) -> set[int]:
        """Return the tasks of an operand. Read the order within it."""
        match node:
            case ast.BinOp(left=left, op=ast.RShift(), right=right):
                first, second = self._flow(left), self._flow(right)
                self._add(first, second)
                return second
            case ast.BinOp(left=left, op=ast.LShift(), right=right):
                first, second = self._flow(left), self._flow(right)
                self._add(second, first)
                return second
            case ast.List(elts=inner) | ast.Tuple(elts=inner):
                return {number for each in inner for number in self._flow(each)}
            case ast.Name(id=name):
                found = {number for number, task in enumerate(self._tasks) if name in task.names}
            case ast.Call(func=function):
                named = self._source.callee(function)
                found = {number for number, task in enumerate(self._tasks) if task.node is node or named in task.names}
            case _:
                found = set()
        found = found or self._called(node)
        self._is_ours = self._is_ours or bool(found)
        if not found:
            self.notes.append(
                Note(self._source.place(node), "this part of the tasks' order is not understood: check the order of the layers")
            )
        return found

    def _called(self, node: ast.AST) -> set[int]:
        """Return the task of a variable that holds the call of a function, such as `loaded = load()`."""
        try:
            call = self._source.resolved(node)
        except ComputedError:
            return set()
        named = self._source.callee(call) if isinstance(call, ast.Call) else ""
        return {number for number, task in enumerate(self._tasks) if named and named in task.names}

    def _add(self, first: set[int], second: set[int]) -> None:
        for number in second:
            self._before[number] |= first - {number}

    def sorted(self) -> list[Task]:
        """Return the tasks in order; those between which there is none in the order of the file."""
        left, done = list(range(len(self._tasks))), list[int]()
        while left:
            number = next((each for each in left if self._before[each] <= set(done)), left[0])
            left.remove(number)
            done.append(number)
        return [self._tasks[number] for number in done]
