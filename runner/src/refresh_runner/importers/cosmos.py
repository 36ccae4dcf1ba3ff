"""dbt as Cosmos runs it in Airflow: DbtDag, DbtTaskGroup and single operators, as command lines of dbt."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from refresh_runner.importers.commands import COMPUTED, parse_dbt
from refresh_runner.importers.description import Note
from refresh_runner.importers.hidden import hidden_leaves
from refresh_runner.importers.python_source import ComputedError, PythonSource, Symbol
from refresh_runner.importers.shell import Script, mask_templates

GROUPS: Final = ("DbtDag", "DbtTaskGroup")
OPERATOR: Final = re.compile(
    r"Dbt(?P<verb>Build|Clone|Compile|Deps|LS|Run|RunOperation|Seed|Snapshot|Source|Test)"
    r"(Local|Kubernetes|WatcherKubernetes|Docker|Virtualenv|AwsEks|AwsEcs|AzureContainerInstance|GcpCloudRunJob)?Operator"
)
_WORDS: Final = {"RunOperation": ["run-operation"], "Source": ["source", "freshness"]}
Arguments = Mapping[str, ast.expr]


@dataclass(frozen=True)
class Profile:
    """What a ProfileConfig says."""

    target: str | None = None
    schema: str | None = None
    credentials: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def of_group(source: PythonSource, arguments: Arguments, place: str) -> Script:
    """Return what a DbtDag or DbtTaskGroup runs: it builds the models, and tests each of them unless it leaves tests out."""
    try:
        render = _inner(source, arguments.get("render_config"))
        operator = source.items(arguments["operator_args"]) if "operator_args" in arguments else {}
        behavior = source.value(render["test_behavior"]) if "test_behavior" in render else None
        named = behavior.name if isinstance(behavior, Symbol) else str(behavior or "")
        without = ["--exclude-resource-type", "test", "unit_test"] if named.lower() == "none" else []
        project, notes = _project(source, arguments.get("project_config"), place)
        words = ["build", *_selection(source, render), *_options(source, {**_renamed(project), **operator}), *without]
    except ComputedError as error:
        return _computed(source, error, place)
    script = _with_project(source, _parsed(source, words, place, arguments), project, operator)
    return replace(script, notes=(*notes, *script.notes))


def of_operator(source: PythonSource, callee: str, arguments: Arguments, place: str) -> Script:
    """Return what one of Cosmos' operators for a single command runs."""
    match = OPERATOR.fullmatch(callee)
    verb = match["verb"] if match else ""
    words = list(_WORDS.get(verb, [verb.lower()]))
    try:
        if "macro_name" in arguments:
            words.append(str(source.value(arguments["macro_name"])))
        words += [*_selection(source, arguments), *_options(source, arguments)]
    except ComputedError as error:
        return _computed(source, error, place)
    folder = {"dbt_project_path": arguments["project_dir"]} if "project_dir" in arguments else {}
    return _with_project(source, _parsed(source, words, place, arguments), folder, arguments)


def profile(source: PythonSource, arguments: Arguments) -> Profile:
    """Return what the profile of a group or an operator says, without its values that may be secret."""
    config = _known(source, arguments.get("profile_config"), "profile_name", "target_name")
    target = source.written(config.get("target_name"))
    credentials = ["the file profiles.yml of Airflow"] if "profiles_yml_filepath" in config else []
    mapping = _known(source, config.get("profile_mapping"), "conn_id", "profile_args")
    if isinstance(connection := source.written(mapping.get("conn_id")), str):
        credentials.append(f"the Airflow connection {connection}")
    given = source.written(mapping.get("profile_args"))
    values = given if isinstance(given, dict) else {}
    schema = values.get("schema")
    return Profile(
        target=target if isinstance(target, str) and COMPUTED not in target else None,
        schema=schema if isinstance(schema, str) and COMPUTED not in schema else None,
        credentials=tuple(credentials),
        hidden=tuple(hidden_leaves(values)),
    )


def _inner(source: PythonSource, node: ast.AST | None, *positional: str) -> dict[str, ast.expr]:
    """Return the arguments of a configuration object; empty if there is none. Raise ComputedError if they are not in the files."""
    call = source.resolved(node) if node is not None else None
    match call:
        case None | ast.Constant(value=None):
            return {}
        case ast.Call():
            return source.arguments(call, *positional)
        case _:
            raise ComputedError(call)


def _known(source: PythonSource, node: ast.AST | None, *positional: str) -> dict[str, ast.expr]:
    """Return the arguments of a configuration object; empty if they are not in the files."""
    try:
        return _inner(source, node, *positional)
    except ComputedError:
        return {}


def _project(source: PythonSource, node: ast.AST | None, place: str) -> tuple[dict[str, ast.expr], tuple[Note, ...]]:
    """Return the arguments of a ProjectConfig. If they are not in the files, say what may be missing."""
    try:
        return _inner(source, node, "dbt_project_path"), ()
    except ComputedError:
        return {}, (Note(place, "project_config is not in the file: if it has dbt_vars, set `dbt.vars`", decide=True),)


def _renamed(project: Arguments) -> dict[str, ast.expr]:
    return {"vars": project["dbt_vars"]} if "dbt_vars" in project else {}


def _selection(source: PythonSource, arguments: Arguments) -> list[str]:
    words: list[str] = []
    for name, option in (("select", "--select"), ("models", "--select"), ("exclude", "--exclude"), ("selector", "--selector")):
        value = source.value(arguments[name]) if name in arguments else None
        for each in value if isinstance(value, list) else [value] if value else []:
            words += [f"{option}={each if isinstance(each, str) else COMPUTED}"]
    return words


def _options(source: PythonSource, arguments: Arguments) -> list[str]:
    words: list[str] = []
    if "vars" in arguments:
        try:
            found = source.value(arguments["vars"])
        except ComputedError:
            found = {COMPUTED: None}
        words += [f"--vars={found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=lambda _: COMPUTED)}"]
    if "full_refresh" in arguments:
        match source.value(arguments["full_refresh"]):
            case True:
                words.append("--full-refresh")
            case False | None:
                pass
            case _:
                raise ComputedError(arguments["full_refresh"])
    for name in ("dbt_cmd_global_flags", "dbt_cmd_flags"):
        flags = source.value(arguments[name]) if name in arguments else []
        words += [str(each) for each in flags] if isinstance(flags, list) else [COMPUTED]
    return words


def _parsed(source: PythonSource, words: list[str], place: str, arguments: Arguments) -> Script:
    parsed = parse_dbt([mask_templates(word) for word in words], place)
    found = profile(source, arguments)
    commands = [replace(command, target=command.target or found.target) for command in [parsed.command] if command]
    return Script(tuple(commands), parsed.installs_packages, notes=parsed.notes, hidden=(*parsed.hidden, *found.hidden))


def _with_project(source: PythonSource, script: Script, project: Arguments, operator: Arguments) -> Script:
    path = source.written(project.get("dbt_project_path"))
    folder = path if isinstance(path, str) and COMPUTED not in path else None
    packages = any(source.written(each.get(name)) is True for each, name in ((project, "install_dbt_deps"), (operator, "install_deps")))
    commands = tuple(replace(command, folder=folder) for command in script.commands)
    return replace(script, commands=commands, installs_packages=script.installs_packages or packages)


def _computed(source: PythonSource, error: ComputedError, place: str) -> Script:
    where = source.place(error.node)
    what = f"the selection or the arguments of Cosmos are computed when the DAG is loaded{'' if where == place else f' ({where})'}"
    return Script(notes=(Note(place, f"not converted: {what}: write the selection by hand", decide=True),))
