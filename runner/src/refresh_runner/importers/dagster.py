"""Reads a schedule of Dagster whose job runs dbt. The files are read, and never imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from refresh_runner.importers import schedules
from refresh_runner.importers.commands import COMPUTED, parse_dbt
from refresh_runner.importers.description import DbtCommand, Description, Overrides, UnreadableError, Verb
from refresh_runner.importers.findings import Findings, chosen, seconds
from refresh_runner.importers.python_source import ComputedError, PythonSource, Symbol

_BY_HAND: Final = "give a schedule by --schedule"
_EVERYTHING: Final = "fqn:*"
Arguments = Mapping[str, ast.expr]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class _Schedule:
    """A schedule of the files."""

    name: str
    node: ast.AST
    arguments: Arguments
    selects: bool
    """Whether it names the selection itself, as build_schedule_from_dbt_selection does."""


@dataclass(frozen=True)
class _Selection:
    """What a job runs: the assets, and dbt's selectors within them."""

    assets: tuple[Function, ...]
    select: str = _EVERYTHING
    exclude: str = ""


def dagster(contents: Mapping[str, bytes], overrides: Overrides) -> Description:
    """Return the description of a schedule. Raise UnreadableError if it cannot be understood."""
    source = PythonSource.of(contents)
    return _Reading(source, chosen(list(_schedules(source)), "schedule", overrides.only)).description(overrides)


def _schedules(source: PythonSource) -> Iterator[_Schedule]:
    for node in source.nodes():
        match node:
            case ast.Call() if source.callee(node) in ("ScheduleDefinition", "build_schedule_from_dbt_selection"):
                selects = source.callee(node) == "build_schedule_from_dbt_selection"
                positional = ("dbt_assets", "job_name", "cron_schedule") if selects else ("name",)
                try:
                    arguments = source.arguments(node, *positional)
                except ComputedError as error:
                    raise UnreadableError(
                        f"{source.place(error.node)}: some arguments of the schedule are computed when it is loaded"
                    ) from None
                yield _Schedule(_name(source, arguments), node, arguments, selects)
            case ast.FunctionDef(decorator_list=decorators):
                for decorator in decorators:
                    if isinstance(decorator, ast.Call) and source.callee(decorator) == "schedule":
                        arguments = source.arguments(decorator, "cron_schedule")
                        yield _Schedule(node.name, node, arguments, selects=False)
            case _:
                pass


def _name(source: PythonSource, arguments: Arguments) -> str:
    """Return the name of a schedule: its own, or that of its job with an ending, as Dagster names it."""
    for key in ("schedule_name", "name"):
        if isinstance(name := source.written(arguments.get(key)), str):
            return name
    job = source.written(arguments.get("job_name"))
    if not isinstance(job, str):
        job = source.written(_job_arguments(source, arguments).get("name"))
    return f"{job}_schedule" if isinstance(job, str) else "schedule"


def _job_arguments(source: PythonSource, arguments: Arguments) -> Arguments:
    """Return the arguments of the job of a schedule; empty if it is not in the files."""
    node = arguments.get("job") or arguments.get("target")
    try:
        job = source.resolved(node) if node is not None else None
        if isinstance(job, ast.Call) and source.callee(job) == "define_asset_job":
            return source.arguments(job, "name", "selection")
    except ComputedError:
        pass
    return {}


class _Reading:
    """Reads one schedule."""

    def __init__(self, source: PythonSource, schedule: _Schedule) -> None:
        self._source = source
        self._schedule = schedule
        self._findings = Findings()

    def description(self, overrides: Overrides) -> Description:
        place = self._source.place(self._schedule.node)
        line = overrides.schedule or self._line(place)
        selection = self._selection(place)
        for function in selection.assets:
            self._commands(function, selection)
        zone = self._value("execution_timezone")
        if "execution_timezone" in self._schedule.arguments and not isinstance(zone, str):
            self._findings.decide(place, "execution_timezone is computed when the schedule is loaded: set `timeZone`")
        retries, timeout = self._limits()
        self._notes(place)
        return self._findings.complete(
            Description(
                source=f"the schedule {self._schedule.name} of Dagster",
                name=self._schedule.name.removesuffix("_schedule"),
                schedule=line,
                commands=(),
                time_zone=zone if isinstance(zone, str) else "Etc/UTC",
                retries=retries,
                timeout=timeout,
            )
        )

    def _line(self, place: str) -> str:
        node = self._schedule.arguments.get("cron_schedule")
        value = self._source.written(node)
        if isinstance(value, list) and len(value) == 1:
            (value,) = value
        if isinstance(value, list):
            raise UnreadableError(f"{place}: the schedule has {len(value)} cron lines, and a refresh has one; {_BY_HAND}")
        if not isinstance(value, str) or COMPUTED in value:
            raise UnreadableError(f"{place}: cron_schedule is no cron line that is written here; {_BY_HAND}")
        return schedules.cron_line(value, self._source.place(node or self._schedule.node), schedules.Seconds.NOWHERE)

    def _selection(self, place: str) -> _Selection:
        """Return what the schedule runs. Raise UnreadableError if that is not written in the files."""
        arguments = self._schedule.arguments
        if self._schedule.selects:
            return self._of_dbt(arguments, place)
        job = _job_arguments(self._source, arguments)
        if job:
            return self._of_assets(job.get("selection"), place)
        if "target" in arguments:
            return self._of_assets(arguments["target"], place)
        raise UnreadableError(f"{place}: the job of the schedule is not in the files: give the file that defines it, too")

    def _of_dbt(self, arguments: Arguments, place: str) -> _Selection:
        """Return the selection of build_schedule_from_dbt_selection or build_dbt_asset_selection."""
        if self._selectors(arguments.get("dbt_selector"), "dbt_selector", place):
            raise UnreadableError(f"{place}: dbt_selector names a selector of selectors.yml: write what it defines into dbt_select")
        select, exclude = (self._selectors(arguments.get(name), name, place) for name in ("dbt_select", "dbt_exclude"))
        return _Selection(self._assets(arguments.get("dbt_assets"), place), select or _EVERYTHING, exclude)

    def _selectors(self, node: ast.AST | None, name: str, place: str) -> str:
        try:
            value = self._source.value(node) if node is not None else ""
        except ComputedError:
            value = COMPUTED
        if not isinstance(value, str | None) or COMPUTED in (value or ""):
            raise UnreadableError(f"{place}: {name} is computed when the schedule is loaded: write it into the file")
        return value or ""

    def _of_assets(self, node: ast.AST | None, place: str) -> _Selection:
        """Return what a selection of assets is in dbt's words."""
        resolved = self._resolved(node) if node is not None else None
        if node is not None and resolved is None:
            raise self._unknown(node)
        match resolved:
            case None | ast.Constant(value="*"):
                return _Selection(self._all_assets(place))
            case ast.Call() if self._source.callee(resolved) == "build_dbt_asset_selection":
                return self._of_dbt(self._source.arguments(resolved, "dbt_assets"), place)
            case ast.Call(func=ast.Attribute(attr="all")):
                return _Selection(self._all_assets(place))
            case ast.Call(func=ast.Attribute(attr="assets"), args=named):
                return _Selection(tuple(function for each in named for function in self._assets(each, place)))
            case ast.List() | ast.FunctionDef() | ast.AsyncFunctionDef():
                return _Selection(self._assets(node, place))
            case _:
                raise self._unknown(node)

    def _unknown(self, node: ast.AST | None) -> UnreadableError:
        where = self._source.place(node or self._schedule.node)
        what = "the selection of assets is not one that dbt_select says"
        return UnreadableError(f"{where}: {what}: write build_dbt_asset_selection into the file, with dbt_select")

    def _resolved(self, node: ast.AST) -> ast.AST | None:
        try:
            return self._source.resolved(node)
        except ComputedError:
            return None

    def _all_assets(self, place: str) -> tuple[Function, ...]:
        found = tuple(node for node in self._source.nodes() if isinstance(node, Function) and self._decorator(node) is not None)
        if not found:
            raise UnreadableError(f"{place}: no function with @dbt_assets is in the files: give the file that defines it, too")
        return found

    def _assets(self, node: ast.AST | None, place: str) -> tuple[Function, ...]:
        """Return the functions with @dbt_assets that are named. Raise UnreadableError if one is not in the files."""
        resolved = self._resolved(node) if node is not None else None
        if isinstance(resolved, ast.List | ast.Tuple):
            return tuple(function for each in resolved.elts for function in self._assets(each, place))
        if isinstance(resolved, Function) and self._decorator(resolved) is not None:
            return (resolved,)
        named = node.id if isinstance(node, ast.Name) else "the function with @dbt_assets"
        raise UnreadableError(f"{place}: {named} is not defined with @dbt_assets in the files: give the file that defines it, too")

    def _decorator(self, function: Function) -> ast.Call | None:
        calls = (each for each in function.decorator_list if isinstance(each, ast.Call))
        return next((each for each in calls if self._source.callee(each) == "dbt_assets"), None)

    def _commands(self, function: Function, selection: _Selection) -> None:
        """Add what the function of some assets runs, within the selection of the schedule."""
        decorator = self._decorator(function)
        given = self._source.arguments(decorator, "manifest") if decorator is not None else {}
        place = self._source.place(function)
        if self._selectors(given.get("selector"), "selector", place):
            raise UnreadableError(f"{place}: @dbt_assets names a selector of selectors.yml: write what it defines into select")
        own, without = (self._selectors(given.get(name), name, place) for name in ("select", "exclude"))
        if "partitions_def" in given:
            self._findings.decide(place, "partitions have no counterpart: a run builds what dbt's variables say")
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and self._source.callee(node) == "cli"]
        if not calls:
            self._findings.decide(place, f"{function.name} calls dbt in another way than by .cli([…])")
        for call in sorted(calls, key=lambda each: each.lineno):
            self._command(call, _both(own, selection.select), [*without.split(), *selection.exclude.split()])

    def _command(self, call: ast.Call, select: Sequence[str], exclude: Sequence[str]) -> None:
        place = self._source.place(call)
        try:
            words = self._source.value(call.args[0]) if call.args else None
        except ComputedError:
            words = None
        if not isinstance(words, list):
            self._findings.decide(place, "dbt is not converted: the words of its command are computed when it runs")
            return
        parsed = parse_dbt([word if isinstance(word, str) else COMPUTED for word in words], place)
        self._findings.notes += parsed.notes
        self._findings.hidden += parsed.hidden
        self._findings.installs_packages = self._findings.installs_packages or parsed.installs_packages
        if command := parsed.command:
            self._findings.commands.append(self._selected(command, select, exclude))

    def _selected(self, command: DbtCommand, select: Sequence[str], exclude: Sequence[str]) -> DbtCommand:
        """Return a command with the selection that Dagster gives it, unless it has one of its own."""
        if command.select or command.exclude or command.verb is Verb.FRESHNESS:
            return command
        whole = list(select) == [_EVERYTHING]
        return replace(command, select=() if whole else tuple(select), exclude=tuple(dict.fromkeys(exclude)))

    def _limits(self) -> tuple[int | None, timedelta | None]:
        """Return the retries and the limit of time of the job's runs, which Dagster has in tags."""
        job = _job_arguments(self._source, self._schedule.arguments)
        tags: dict[str, object] = {}
        for arguments in (job, self._schedule.arguments):
            found = self._source.written(arguments.get("tags"))
            tags |= found if isinstance(found, dict) else {}
        retries = str(tags.get("dagster/max_retries", ""))
        return int(retries) if re.fullmatch("[0-9]{1,4}", retries) else None, seconds(tags.get("dagster/max_runtime"))

    def _notes(self, place: str) -> None:
        """Note what Dagster does with a schedule and not with a refresh."""
        status = self._value("default_status")
        if not (isinstance(status, Symbol) and status.name == "RUNNING"):
            self._findings.note(place, "Dagster starts a schedule by its UI: whether this one runs is not in the file")
        if isinstance(self._schedule.node, Function):
            self._findings.decide(place, "the body of the schedule is Python, and not read: it may skip runs or configure them")
        for name in ("should_execute", "execution_fn", "run_config_fn", "tags_fn"):
            if name in self._schedule.arguments:
                self._findings.decide(place, f"{name} is Python, and not read: it may skip runs or configure them")
        if "hooks" in _job_arguments(self._source, self._schedule.arguments):
            self._findings.decide(place, "hooks of the job have no counterpart: see `notifications`")

    def _value(self, name: str) -> object:
        return self._source.written(self._schedule.arguments.get(name))


def _both(own: str, of_schedule: str) -> list[str]:
    """Return the selectors of what is in both selections: of the assets, and of the schedule within them."""
    first, second = own.split() or [_EVERYTHING], of_schedule.split()
    if _EVERYTHING in first or _EVERYTHING in second:
        return second if _EVERYTHING in first else first
    return [f"{each},{other}" for each in first for other in second]
