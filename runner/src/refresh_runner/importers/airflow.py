"""Reads an Airflow DAG whose tasks run dbt: by BashOperator, by Cosmos, or in a pod. The file is read, and never imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from refresh_runner.importers import schedules
from refresh_runner.importers.airflow_tasks import Task, TaskReader, in_order
from refresh_runner.importers.commands import COMPUTED
from refresh_runner.importers.cosmos import Arguments
from refresh_runner.importers.description import Description, Overrides, UnreadableError
from refresh_runner.importers.findings import Findings, chosen
from refresh_runner.importers.python_source import ComputedError, Moment, PythonSource, Zone
from refresh_runner.importers.shell import Script

_BY_HAND: Final = "give a schedule by --schedule"
_CALLBACKS: Final = ("on_failure_callback", "on_success_callback", "on_retry_callback", "sla_miss_callback")
_CRON_TIMETABLES: Final = ("CronTriggerTimetable", "CronDataIntervalTimetable")
_DELTA_TIMETABLES: Final = ("DeltaTriggerTimetable", "DeltaDataIntervalTimetable")


@dataclass(frozen=True)
class _Dag:
    """A DAG of the files."""

    name: str
    """Empty if it is computed."""
    node: ast.AST
    arguments: Arguments
    body: ast.AST | None = None
    """The `with` statement or function that contains its tasks."""
    variable: str | None = None


def airflow(contents: Mapping[str, bytes], overrides: Overrides) -> Description:
    """Return the description of a DAG. Raise UnreadableError if it cannot be understood."""
    source = PythonSource.of(contents)
    dags = list(_dags(source))
    dag = chosen(dags, "DAG", overrides.only)
    if not (dag.name or overrides.name):
        raise UnreadableError(f"{source.place(dag.node)}: the name of the DAG is computed when it is loaded; give one by --name")
    return _Reading(source, dag, is_alone=len(dags) == 1).description(overrides)


def _dags(source: PythonSource) -> Iterator[_Dag]:
    for node in source.nodes():
        match node:
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                for decorator in decorators:
                    if source.callee(decorator) == "dag":
                        arguments = _arguments(source, decorator) if isinstance(decorator, ast.Call) else {}
                        yield _Dag(_name(source, arguments, node.name), node, arguments, node)
            case ast.Call() if source.callee(node) in ("DAG", "DbtDag"):
                yield _of_call(source, node)
            case _:
                pass


def _of_call(source: PythonSource, call: ast.Call) -> _Dag:
    arguments = _arguments(source, call)
    body: ast.AST | None = None
    variable: str | None = None
    match parent := source.parents.get(call):
        case ast.withitem(optional_vars=target):
            body = source.parents.get(parent)
            variable = target.id if isinstance(target, ast.Name) else None
        case ast.Assign(targets=[ast.Name(id=name)]):
            variable = name
            opened = (node for node in source.nodes() if isinstance(node, ast.With))
            body = next((node for node in opened for item in node.items if _is_name(item.context_expr, variable)), None)
        case _:
            pass
    return _Dag(_name(source, arguments, variable or ""), call, arguments, body, variable)


def _is_name(node: ast.AST, name: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _name(source: PythonSource, arguments: Arguments, otherwise: str) -> str:
    if "dag_id" not in arguments:
        return otherwise
    try:
        name = source.value(arguments["dag_id"])
    except ComputedError:
        return ""
    return name if isinstance(name, str) and COMPUTED not in name else ""


def _arguments(source: PythonSource, call: ast.Call) -> Arguments:
    """Return the arguments of a DAG; those that are written out if others are computed."""
    try:
        return source.arguments(call, "dag_id")
    except ComputedError:
        written = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        return {**({"dag_id": call.args[0]} if call.args else {}), **written}


class _Reading:
    """Reads one DAG."""

    def __init__(self, source: PythonSource, dag: _Dag, *, is_alone: bool) -> None:
        self._source = source
        self._dag = dag
        self._is_alone = is_alone
        self._findings = Findings()
        self._defaults = self._dictionary(dag.arguments.get("default_args"))

    def description(self, overrides: Overrides) -> Description:
        zone, line = self._schedule(overrides)
        tasks = self._tasks()
        for task in tasks:
            self._findings.add(_with_limits(task), task.label)
            self._findings.credentials += task.profile.credentials
        self._notes()
        timeout = self._source.written(self._dag.arguments.get("dagrun_timeout"))
        name = self._dag.name or str(overrides.name)
        return self._findings.complete(
            Description(
                source=f"the Airflow DAG {name}",
                name=name,
                schedule=line,
                commands=(),
                time_zone=zone,
                timeout=timeout if isinstance(timeout, timedelta) else None,
                is_suspended=self._source.written(self._dag.arguments.get("is_paused_upon_creation")) is True,
                emails=tuple(dict.fromkeys(email for task in tasks for email in task.emails)),
                schema=next((task.profile.schema for task in tasks if task.profile.schema), None),
            )
        )

    def _tasks(self) -> list[Task]:
        reader = TaskReader(self._source, self._defaults)
        mine = [node for node in self._source.nodes() if self._is_mine(node)]
        tasks = [task for node in mine if (task := reader.task(node)) is not None]
        ordered, notes = in_order(self._source, tasks, mine)
        self._findings.notes += notes
        return ordered

    def _is_mine(self, node: ast.AST) -> bool:
        """Return whether a node belongs to the DAG: it is in its body, names it, or there is no other one."""
        if node is self._dag.node or self._is_alone:
            return not isinstance(node, ast.Call) or self._source.callee(node) != "DAG"
        if self._dag.body is not None and self._dag.body in self._source.ancestors(node):
            return True
        named = [keyword.value for keyword in node.keywords if keyword.arg == "dag"] if isinstance(node, ast.Call) else []
        return any(_is_name(each, self._dag.variable) for each in named) or isinstance(node, ast.Expr)

    def _schedule(self, overrides: Overrides) -> tuple[str, str]:
        """Return the time zone and the line."""
        given = {**self._defaults, **self._dag.arguments}
        start = self._source.written(given.get("start_date"))
        moment = start if isinstance(start, Moment) else None
        zone = moment.zone if moment else None
        place, line = self._source.place(self._dag.node), overrides.schedule
        node: ast.AST | None = next((given[name] for name in ("schedule", "schedule_interval", "timetable") if name in given), None)
        if node is not None:
            place = self._source.place(node)
            own, node = self._timetable(node)
            zone = own or zone
        if line is None:
            line = self._line(node, moment, place)
        if zone is None:
            self._findings.note(
                place, "start_date has no time zone that is written: UTC is taken, unless core.default_timezone says otherwise"
            )
        return zone or "Etc/UTC", line

    def _line(self, node: ast.AST | None, start: Moment | None, place: str) -> str:
        if node is None:
            raise UnreadableError(f"{place}: the DAG names no schedule (Airflow 2 takes one day, Airflow 3 none); {_BY_HAND}")
        try:
            value = self._source.value(node)
        except ComputedError:
            raise UnreadableError(f"{place}: the schedule is no cron line and no timedelta that is written here; {_BY_HAND}") from None
        if isinstance(value, str):
            return schedules.cron_line(value, place, schedules.Seconds.LAST)
        if isinstance(value, timedelta):
            if start is None:
                self._findings.note(place, "start_date, from which the interval counts, is not written here: H leaves the time open")
            return schedules.interval_line(value, start.wall if start else None, place)
        if value is None:
            raise UnreadableError(f"{place}: the DAG has no schedule, and is started by somebody else; {_BY_HAND}")
        raise UnreadableError(f"{place}: the schedule is no cron line and no timedelta; {_BY_HAND}")

    def _timetable(self, node: ast.AST) -> tuple[str | None, ast.AST]:
        """Return the time zone of a timetable and its line or interval; no zone and the node itself for anything else."""
        try:
            call = self._source.resolved(node)
            if not isinstance(call, ast.Call) or self._source.callee(call) not in _CRON_TIMETABLES + _DELTA_TIMETABLES:
                return None, node
            arguments = self._source.arguments(call, "when")
        except ComputedError:
            return None, node
        inner = next((arguments[name] for name in ("when", "cron", "delta") if name in arguments), node)
        zone = self._source.written(arguments.get("timezone"))
        if "timezone" in arguments and zone is None:
            self._findings.decide(
                self._source.place(node), "the time zone of the timetable is computed when the DAG is loaded: set `timeZone`"
            )
        return zone.name if isinstance(zone, Zone) else zone if isinstance(zone, str) else None, inner

    def _notes(self) -> None:
        """Note what Airflow does with a DAG and not with a refresh."""
        given = {**self._defaults, **self._dag.arguments}

        def place(name: str) -> str:
            return self._source.place(given[name])

        for name in _CALLBACKS:
            if name in given:
                self._findings.decide(place(name), f"{name} is Python: see `notifications`, whose addresses belong in Secrets")
        if "end_date" in given:
            self._findings.decide(place("end_date"), "end_date has no counterpart: suspend the refresh then")
        if self._source.written(given.get("catchup")) is True:
            self._findings.note(place("catchup"), "catchup has no counterpart: a missed run is reported, and not caught up")
        if self._source.written(given.get("email_on_retry")) is True:
            self._findings.note(place("email_on_retry"), "email_on_retry has no counterpart: only a run that has failed is notified")
        if "sla" in given:
            self._findings.note(place("sla"), "sla: see `freshness.maxStaleness`")
        if "dagrun_timeout" in given and self._source.written(given["dagrun_timeout"]) is None:
            self._findings.decide(place("dagrun_timeout"), "dagrun_timeout is computed when the DAG is loaded: set `timeout`")

    def _dictionary(self, node: ast.AST | None) -> Arguments:
        if node is None:
            return {}
        try:
            return self._source.items(node)
        except ComputedError:
            self._findings.decide(self._source.place(node), "default_args are computed when the DAG is loaded, and not read")
            return {}


def _with_limits(task: Task) -> Script:
    """Return what a task runs, with the limits of the task."""
    commands = tuple(replace(command, timeout=task.timeout, retries=task.retries) for command in task.script.commands)
    return replace(task.script, commands=commands)
