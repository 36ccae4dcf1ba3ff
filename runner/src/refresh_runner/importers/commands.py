"""The one parser of dbt's command line, which all readers share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, NoReturn, TypeGuard

import yaml
from pydantic import JsonValue, TypeAdapter, ValidationError

from refresh_api.fields import Selector
from refresh_runner.importers.description import DbtCommand, Note, TestKind, Verb
from refresh_runner.importers.hidden import is_secret, leaves

COMPUTED: Final = "\ue000"
"""Stands in a text for a part that is only known when the source runs: a template, a variable, dynamic Python."""

_VERBS: Final[Mapping[tuple[str, ...], Verb]] = {
    ("build",): Verb.BUILD,
    ("run",): Verb.RUN,
    ("test",): Verb.TEST,
    ("seed",): Verb.SEED,
    ("snapshot",): Verb.SNAPSHOT,
} | {("source", name): Verb.FRESHNESS for name in ("freshness", "snapshot-freshness")}
_NEEDLESS: Final = frozenset("clean compile debug init list ls parse show".split())
"""Commands that change nothing in the warehouse."""
SUBCOMMANDS: Final = frozenset({*(words[0] for words in _VERBS), *_NEEDLESS, "clone", "deps", "docs", "retry", "run-operation"})
_IGNORED: Final = (
    *("--cache-selected-only", "--debug", "--no-cache-selected-only", "--no-debug", "--no-partial-parse", "--no-populate-cache"),
    *("--no-print", "--no-quiet", "--no-send-anonymous-usage-stats", "--no-static-parser", "--no-use-colors", "--no-use-colors-file"),
    *("--no-version-check", "--no-write-json", "--partial-parse", "--populate-cache", "--print", "--quiet", "--single-threaded"),
    *("--send-anonymous-usage-stats", "--static-parser", "--use-colors", "--use-colors-file", "--version-check", "--write-json"),
    *("--use-experimental-parser", "--no-use-experimental-parser", "--no-single-threaded", "--no-full-refresh", "-d", "-q"),
)
"""Flags that do not change what dbt builds."""
_IGNORED_WITH_VALUE: Final = (
    *("--log-file-max-bytes", "--log-format", "--log-format-file", "--log-level", "--log-level-file", "--log-path", "--printer-width"),
    *("--profile", "--profiles-dir", "--record-timing-info", "--target-path", "-r"),
)
_SETTINGS: Final = ("--fail-fast", "--no-fail-fast", "--warn-error", "--no-warn-error", "-x")
_SETTINGS_WITH_VALUE: Final = ("--warn-error-options", "--indirect-selection")
"""Options that a project can also set under `flags` in dbt_project.yml."""
_OPTION: Final = re.compile(r"--?[a-z][a-z-]*")
_STATEFUL: Final = ("state:", "result:", "source_status:")
"""Methods of selectors that compare with another run."""


@dataclass(frozen=True)
class Parsed:
    """What a command line means."""

    command: DbtCommand | None = None
    installs_packages: bool = False
    notes: tuple[Note, ...] = ()
    hidden: tuple[str, ...] = ()


class _ArgumentError(Exception):
    """An option without its value, or with one that it does not take. Has the name of the option."""


class _Named(argparse.Action):
    """Keeps the option's name, and not its value."""

    def __call__(self, _parser: object, namespace: argparse.Namespace, _values: object, option: str | None = None) -> None:
        namespace.settings = [*namespace.settings, option]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # the message quotes the value, which may be a secret
        named = re.match(r"argument ([\w/-]+):", message)
        raise _ArgumentError(named[1] if named else "an option")


def parse_dbt(words: Sequence[str], place: str) -> Parsed:
    """Return what `dbt …` means, from the words after `dbt`. What cannot be said in a refresh is a note."""
    try:
        args, rest = _parser().parse_known_args(list(words))
    except _ArgumentError as error:
        return _refused(place, "dbt", f"has a value where {error} takes none, or none where it takes one")
    names = [word for word in rest if not word.startswith("-")]
    unknown = [named[0] if (named := _OPTION.match(word)) else "an option" for word in rest if word.startswith("-")]
    verb = _VERBS.get(tuple(names[:2])) or _VERBS.get(tuple(names[:1]))
    if verb is None:
        return _other(names, place)
    said = f"dbt {verb}"
    if unknown or len(names) > len(verb.split()):
        what = f"has {', '.join(unknown)}" if unknown else "has words that are no options"
        return _refused(place, said, f"{what}, for which a refresh has no field")
    if args.selector:
        return _refused(place, said, "uses --selector: write what selectors.yml defines there into `select` and `exclude`")
    select, exclude = (_selectors(each) for each in (args.select, args.exclude))
    if why := _unusable(select, "--select") or _unusable(exclude, "--exclude"):
        return _refused(place, said, why)
    tests = _test_kind(args, verb)
    if tests is None:
        return _refused(place, said, "chooses by type of resource: write it as `resource_type:…` into `select`")
    command = DbtCommand(verb, place, select, exclude, folder=args.project_dir, tests=tests)
    return _with_settings(command, args, said)


def _test_kind(args: argparse.Namespace, verb: Verb) -> TestKind | None:
    """Return which tests a command runs; None if its options choose between other types of resources."""
    excluded = set(_selectors(args.exclude_types))
    if args.types or not excluded <= {"test", "unit_test"} or (excluded and verb not in (Verb.BUILD, Verb.TEST)):
        return None
    return {(): TestKind.ALL, ("test",): TestKind.UNIT, ("unit_test",): TestKind.DATA}.get(tuple(sorted(excluded)), TestKind.NONE)


def _with_settings(command: DbtCommand, args: argparse.Namespace, said: str) -> Parsed:
    place, notes = command.place, []
    variables, hidden, of_variables = _variables(args.vars, place, said)
    notes += of_variables
    if args.full_refresh:
        text = "each run rebuilds incremental models in full. A refresh does so on request only: `kubectl dashboardrefresh run NAME --mode"
        notes.append(Note(place, f"{said} --full-refresh: {text} full-refresh`, or `full_refresh: true` in the models' config", True))
    if args.settings:
        text = "a refresh follows `flags` of dbt_project.yml instead"
        notes.append(Note(place, f"{said} has {', '.join(args.settings)}: {text}"))
    target, threads = args.target, args.threads
    if target and COMPUTED in _marked(target):
        notes.append(Note(place, f"{said}: --target is computed when the source runs: set `dbt.target`", True))
        target = None
    if threads and not re.fullmatch("[0-9]{1,4}", threads):
        notes.append(Note(place, f"{said}: --threads is no number that is written: set `dbt.threads`"))
        threads = None
    changed = replace(command, variables=variables, target=target, threads=int(threads) if threads else None)
    return Parsed(changed, notes=tuple(notes), hidden=tuple(hidden))


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--select", "--models", "--model", "-s", "-m", nargs="+", action="extend", default=[])
    parser.add_argument("--exclude", nargs="+", action="extend", default=[])
    parser.add_argument("--resource-type", "--resource-types", nargs="+", action="extend", default=[], dest="types")
    parser.add_argument("--exclude-resource-type", "--exclude-resource-types", nargs="+", action="extend", default=[], dest="exclude_types")
    parser.add_argument("--vars")
    parser.add_argument("--target", "-t")
    parser.add_argument("--threads")
    parser.add_argument("--selector")
    parser.add_argument("--project-dir")
    parser.add_argument("--full-refresh", "-f", action="store_true")
    parser.set_defaults(settings=[])
    for name in _IGNORED:
        parser.add_argument(name, action="store_true", dest="_")
    for name in _IGNORED_WITH_VALUE:
        parser.add_argument(name, dest="_")
    for name in _SETTINGS:
        parser.add_argument(name, action=_Named, nargs=0, dest="settings")
    for name in _SETTINGS_WITH_VALUE:
        parser.add_argument(name, action=_Named, dest="settings")
    return parser


def _other(names: Sequence[str], place: str) -> Parsed:
    """Return the notes on a command that builds and tests nothing."""
    match list(names[:2]):
        case ["deps", *_]:
            return Parsed(installs_packages=True)
        case ["run-operation", *rest]:
            macro = rest[0] if rest and rest[0].isidentifier() else "a macro"
            text = "write it as on-run-start or on-run-end in dbt_project.yml, or as a hook of a model"
            return Parsed(notes=(Note(place, f"dbt run-operation runs {macro}: {text}", True),))
        case ["docs", *_]:
            return Parsed(
                notes=(Note(place, "dbt docs: each run stores the docs: `kubectl dashboardrefresh artifacts NAME RUN docs.html`"),)
            )
        case ["retry", *_]:
            return Parsed(notes=(Note(place, "dbt retry: a further attempt builds only what is missing, by itself"),))
        case [name, *_] if name in _NEEDLESS:
            return Parsed(notes=(Note(place, f"dbt {name} is left out: it builds nothing"),))
        case [name, *_] if name in SUBCOMMANDS:
            return _refused(place, f"dbt {name}", "has no counterpart")
        case [name, *_] if name.isidentifier():
            return _refused(place, f"dbt {name}", "is not a command that is known here")
        case []:
            return Parsed()
        case _:
            return _refused(place, "dbt", "gets its command when the source runs")


def _refused(place: str, said: str, why: str) -> Parsed:
    return Parsed(notes=(Note(place, f"{said} is not converted: it {why}", decide=True),))


def _selectors(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in value.split())


def _unusable(selectors: Sequence[str], option: str) -> str:
    """Return why a selection cannot be written into a refresh; an empty text if it can."""
    if any(COMPUTED in _marked(word) for word in selectors):
        return f"gets {option} when the source runs: write the selection by hand"
    if found := next((word for word in selectors if any(method in word for method in _STATEFUL)), None):
        return f"selects by {found.partition(':')[0]}, which compares with another run: see `unchangedPolicy` and previews"
    for word in selectors:
        try:
            TypeAdapter(Selector).validate_python(word)
        except ValidationError:
            return f"has in {option} what is no selector"
    return ""


def _variables(text: str | None, place: str, said: str) -> tuple[dict[str, JsonValue], list[str], list[Note]]:
    """Return the variables of `--vars`, the values that may be secret, and notes on what is left out."""
    if text is None:
        return {}, [], []
    try:
        # An alias can contain itself, or expand to more than fits into memory.
        has_alias = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
        found = None if has_alias else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        return {}, [text], [Note(place, f"{said}: --vars is not a YAML mapping that can be read: set `dbt.vars`", True)]
    return kept_variables(found, place, said)


def kept_variables(found: Mapping[str, JsonValue], place: str, said: str) -> tuple[dict[str, JsonValue], list[str], list[Note]]:
    """Return those variables that can be written, the values that may be secret, and notes on what is left out."""
    kept: dict[str, JsonValue] = {}
    hidden: list[str] = []
    notes: list[Note] = []
    for name, value in found.items():
        if COMPUTED in name or not name.isidentifier():
            notes.append(Note(place, f"{said}: a variable's name is computed when the source runs: set it in `dbt.vars`", True))
        elif is_secret(name, value):
            hidden += leaves(value)
            text = "everybody who can read a refresh sees its variables: have the project read it from the warehouse"
            notes.append(Note(place, f"{said}: the variable {name} may be a secret and is not copied; {text}", True))
        elif any(COMPUTED in _marked(leaf) for leaf in leaves(value)):
            text = (
                "as_of defaults to the run's date in timeZone" if name == "as_of" else "set it in `dbt.vars`, or compute it in the project"
            )
            notes.append(Note(place, f"{said}: the variable {name} is computed when the source runs: {text}", name != "as_of"))
        elif not _is_json(plain_value := _without_dates(value)):
            notes.append(Note(place, f"{said}: the variable {name} is of a type that a refresh cannot have: set it in `dbt.vars`", True))
        else:
            kept[name] = plain_value
    return kept, hidden, notes


def _without_dates(value: object) -> object:
    """Return a value with texts for its dates, which a manifest has as texts."""
    if isinstance(value, dict):
        return {name: _without_dates(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_dates(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


def _is_json(value: object) -> TypeGuard[JsonValue]:
    try:
        TypeAdapter(JsonValue).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _marked(text: str) -> str:
    """Return a text with a mark where a shell or Kubernetes would put a value."""
    return text.replace("$", COMPUTED).replace("`", COMPUTED)


def selections(command: DbtCommand) -> Iterator[str]:
    """Yield the selectors of what a command builds: exactly the kinds of nodes that it builds."""
    kind = {Verb.RUN: "model", Verb.SEED: "seed", Verb.SNAPSHOT: "snapshot"}.get(command.verb)
    for selector in command.select or (() if kind else ("fqn:*",)):
        yield f"{selector},resource_type:{kind}" if kind else selector
    if kind and not command.select:
        yield f"resource_type:{kind}"


def selections_of_tests(command: DbtCommand) -> Iterator[str]:
    """Yield the selectors of the tests that a command runs."""
    for selector in command.select or ("fqn:*",):
        yield selector if command.tests is TestKind.ALL else f"{selector},resource_type:{command.tests.value}"
