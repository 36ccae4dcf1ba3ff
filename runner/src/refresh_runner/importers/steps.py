"""The spec of a refresh that does what a description says; pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from refresh_api.fields import Email, Identifier
from refresh_api.names import NAME_MAX_LENGTH
from refresh_api.project import CommitHash, GitUrl, ProjectPath, RefName
from refresh_api.steps import OWN_STEPS
from refresh_api.values import LONGEST
from refresh_runner.importers import schedules
from refresh_runner.importers.commands import COMPUTED, selections, selections_of_tests
from refresh_runner.importers.description import DbtCommand, Description, GitProject, Note, Overrides, TestKind, UnreadableError, Verb
from refresh_runner.importers.hidden import without_login

_DEFAULT_TIMEOUT: Final = timedelta(minutes=15)
_MOST_RETRIES: Final = 10
_LAYER_NAMES: Final = {Verb.SEED: "seeds", Verb.SNAPSHOT: "snapshots"}
_SCP_ADDRESS: Final = re.compile(r"(?:ssh://)?(?:([\w.-]+)@)?([\w.-]+):(?!/)([^\s:@]+)")
"""An address as scp writes it, `git@example.org:data/dbt.git`, and as some programs mix it with a scheme."""
Spec = dict[str, JsonValue]


@dataclass(frozen=True)
class Written:
    """A spec, and notes: those of the source, and those that came up while it was written."""

    name: str
    spec: Spec
    notes: tuple[Note, ...]


def written(found: Description, overrides: Overrides) -> Written:
    """Return the spec of a description. Raise UnreadableError if it builds nothing."""
    name = object_name(overrides.name or found.name)
    layers, building = _layers(found)
    if not layers:
        raise UnreadableError(_nothing(found))
    notes = list(found.notes)
    spec: Spec = {}
    if found.name != name:
        spec["displayName"] = " ".join(found.name.split())[:80]
    spec["schedule"] = schedules.checked(overrides.schedule, "--schedule") if overrides.schedule else found.schedule
    spec["timeZone"] = found.time_zone
    # Two schedules that build the same tables must not run side by side.
    spec["suspend"] = True
    spec["warehouse"] = {"secretRef": {"name": overrides.secret}}
    notes.append(_secret_note(found, overrides.secret))
    project, of_project = _project(found)
    notes += of_project
    dbt, of_dbt = _dbt(found, overrides.schema)
    notes += of_dbt
    spec |= {key: value for key, value in (("project", project), ("dbt", dbt)) if value}
    spec["layers"] = list(layers)
    sources, of_sources = _sources(found)
    tests, of_tests = _tests(found, building)
    notifications, of_notifications = _notifications(found)
    parts: Mapping[str, JsonValue] = {"sources": sources, "tests": tests, "notifications": notifications}
    spec |= {key: value for key, value in parts.items() if value}
    notes += [*of_sources, *of_tests, *of_notifications, *_order(found), *_limits(found)]
    spec["timeout"] = duration(_timeout(found))
    if found.retries is not None:
        spec["retries"] = min(found.retries, _MOST_RETRIES)
    if found.resources:
        spec["resources"] = {side: dict(values) for side, values in found.resources.items()}
    marts = "list the tables that dashboards read in `validation.marts`: they then become live together, after the tests"
    return Written(name, spec, (*notes, Note("", marts, decide=True)))


def object_name(text: str) -> str:
    """Return a text as the name of an object: lower-case letters, digits and dashes."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:NAME_MAX_LENGTH].strip("-")
    if not name:
        raise UnreadableError(f"{text!r} makes no name of a refresh: give one by --name")
    return name


def duration(length: timedelta) -> str:
    """Return a duration as a spec has it, such as `1h30m`; at least a second, at most a week."""
    seconds = int(min(max(length, timedelta(seconds=1)), LONGEST).total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number)


def _nothing(found: Description) -> str:
    why = "; ".join(f"{note.place}: {note.text}" for note in found.notes if note.decide)
    return f"{found.source}: no dbt command that builds something was found{f': {why}' if why else ''}"


def _layers(found: Description) -> tuple[list[JsonValue], dict[str, DbtCommand]]:
    """Return the layers, and the command of each by its name."""
    named: dict[str, DbtCommand] = {}
    for command in found.commands:
        if command.verb in (Verb.BUILD, Verb.RUN, Verb.SEED, Verb.SNAPSHOT):
            base = _step_name(command)
            name = next(each for each in (base, *(f"{base}-{number}" for number in range(2, 1000))) if each not in named)
            named[name] = command
    layers: list[JsonValue] = []
    for name, command in named.items():
        layer: Spec = {"name": name, "select": list(selections(command))}
        layer |= {"exclude": list(command.exclude)} if command.exclude else {}
        layers.append(layer | _step_limits(found, [command]))
    return layers, named


def _step_name(command: DbtCommand) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", command.label.lower()).strip("-")[:36].strip("-")
    return name if name and name not in OWN_STEPS else _LAYER_NAMES.get(command.verb, "models")


def _step_limits(found: Description, commands: Sequence[DbtCommand]) -> Spec:
    whole = _timeout(found)
    longest = max((command.timeout or whole for command in commands), default=whole)
    retries = max((command.retries for command in commands if command.retries is not None), default=None)
    return {"timeout": duration(min(longest, whole))} | ({} if retries is None else {"retries": min(retries, _MOST_RETRIES)})


def _timeout(found: Description) -> timedelta:
    """Return the limit of the whole: that of the source, or the sum of its steps' limits, or the default."""
    limits = [command.timeout for command in found.commands]
    known = [limit for limit in limits if limit is not None]
    return found.timeout or (sum(known, timedelta()) if known and len(known) == len(limits) else _DEFAULT_TIMEOUT)


def _limits(found: Description) -> Iterator[Note]:
    if found.timeout is None and not any(command.timeout for command in found.commands):
        text = (
            f"the source has no limit of time. Here a run ends after `timeout`, {duration(_DEFAULT_TIMEOUT)}: raise it if runs take longer"
        )
        yield Note("", text, decide=True)
    if (found.timeout or timedelta()) > LONGEST:
        yield Note("", f"the limit of {found.timeout} is more than `timeout` can be: it is {duration(LONGEST)}")
    tried = [found.retries, *(command.retries for command in found.commands)]
    if any(tries for tries in tried):
        yield Note("", "the source retries after any error; a refresh only after a transient one, such as a lost connection")
    if any(tries and tries > _MOST_RETRIES for tries in tried):
        yield Note("", f"`retries` is at most {_MOST_RETRIES}")


def _order(found: Description) -> Iterator[Note]:
    """Yield what a refresh does in another order than the source."""
    verbs = [command.verb for command in found.commands]
    builds = [number for number, verb in enumerate(verbs) if verb not in (Verb.TEST, Verb.FRESHNESS)]
    for number, command in enumerate(found.commands):
        tests = command.verb is Verb.TEST or (command.verb is Verb.BUILD and command.tests is not TestKind.NONE)
        if tests and any(later > number for later in builds):
            yield Note(command.place, "these tests ran before later commands; a refresh runs all tests after its last layer")
        if command.verb is Verb.FRESHNESS and any(earlier < number for earlier in builds):
            yield Note(
                command.place, "the sources' freshness was checked after commands that build; a refresh checks it before its first layer"
            )
        if command.tolerated and command.verb not in (Verb.TEST, Verb.FRESHNESS):
            yield Note(command.place, f"the source goes on after a failed dbt {command.verb}; a refresh ends after a failed layer")


def _secret_note(found: Description, secret: str) -> Note:
    known = f" The source has the login in {', '.join(found.credentials)}." if found.credentials else ""
    return Note("", f"create the Secret {secret} with the keys host, dbname, user and password.{known}", decide=True)


def _project(found: Description) -> tuple[Spec, list[Note]]:
    project = found.project
    if project is None:
        named = (command.folder for command in found.commands)
        folders = dict.fromkeys(folder for folder in named if folder and COMPUTED not in folder and "$" not in folder)
        where = f" (until now {', '.join(folders)})" if folders else ""
        text = f"say where the dbt project is{where}: in an image, with `image`, or in a repository, with `project`"
        packages = [Note("", "dbt deps: run it when the image is built, or use `project.git.packages: Locked`")]
        return {}, [Note("", text, decide=True), *(packages if found.installs_packages else [])]
    url = git_url(project.url)
    if url is None:
        text = "`project.git.url` takes https://HOST/PATH or ssh://USER@HOST/PATH, and the source has another address: write it"
        return {}, [Note("", text, decide=True)]
    git: Spec = {"url": url}
    notes = []
    if project.ref:
        kind = "commit" if _is_valid(CommitHash, project.ref) else "branch"
        if kind == "branch" and not _is_valid(RefName, project.ref):
            return {}, [Note("", "the source names no branch, tag or commit that `project.git.ref` takes: write `project`", decide=True)]
        git["ref"] = {kind: project.ref}
    path = project.path.strip("/") or "."
    if path != "." and not _is_valid(ProjectPath, path):
        return {}, [Note("", "`project.git.path` does not take the folder of the project: write `project`", decide=True)]
    git |= {"path": path} if path != "." else {}
    if project.secret:
        git["secretRef"] = {"name": project.secret}
    else:
        notes.append(Note("", "for a private repository, create a Secret and name it in `project.git.secretRef`"))
    git |= {"packages": "Locked"} if found.installs_packages else {}
    allowed = "`projects.allowedUrls` of the operator's chart must allow the address of the repository"
    return {"git": git}, [Note("", allowed, decide=True), *notes]


def git_url(address: str) -> str | None:
    """Return an address of a repository as a spec has it, without a login; None if there is no such form of it."""
    scp = _SCP_ADDRESS.fullmatch(address)
    try:
        url = f"ssh://{scp[1] or 'git'}@{scp[2]}/{scp[3]}" if scp else without_login(address)
    except ValueError:
        return None
    return url if _is_valid(GitUrl, url) else None


def _is_valid(kind: Any, value: str) -> bool:  # noqa: ANN401 - an annotated type
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def _dbt(found: Description, schema: str | None) -> tuple[Spec, list[Note]]:
    dbt: Spec = {}
    notes = []
    target, of_target = _agreed("target", [*((each.target, each.place) for each in found.commands), (found.target, "")])
    threads, of_threads = _agreed("threads", [*((each.threads, each.place) for each in found.commands), (found.threads, "")])
    variables: Spec = {}
    for command in found.commands:
        for name, value in command.variables.items():
            if name in variables and variables[name] != value:
                notes.append(Note(command.place, f"the variable {name} differs between commands; a refresh has one value, the first", True))
            variables.setdefault(name, value)
    if isinstance(threads, int):
        dbt["threads"] = min(max(threads, 1), 64)
    if isinstance(target, str) and _is_valid(Identifier, target):
        dbt["target"] = target
    elif not target:
        notes.append(Note("", "if models read target.name: set `dbt.target`, which defaults to prod"))
    if named := schema or found.schema:
        dbt["schema"] = named
    else:
        text = "set `dbt.schema` to the schema that the profile of the project has; it defaults to dwh"
        notes.append(Note("", text, decide=True))
    if variables:
        dbt["vars"] = variables
    return dbt, [*of_target, *of_threads, *notes]


def _agreed(what: str, values: Iterable[tuple[str | int | None, str]]) -> tuple[str | int | None, list[Note]]:
    """Return the first value, and a note for each other one: a refresh has one for all of its commands."""
    given = [(value, place) for value, place in values if value is not None]
    first = given[0][0] if given else None
    other = [place for value, place in given if value != first]
    return first, [Note(place, f"the {what} differs between commands; a refresh has one, the first", decide=True) for place in other]


def _sources(found: Description) -> tuple[Spec, list[Note]]:
    checks = [command for command in found.commands if command.verb is Verb.FRESHNESS]
    if not checks:
        return {}, []
    text = "a refresh checks the sources that its layers read, whatever the command selects"
    notes = [Note(command.place, text) for command in checks if command.select or command.exclude]
    notes.append(Note("", "if no source of the layers declares a freshness, a refresh fails, as `lint` says: remove `sources` then"))
    return {"stalePolicy": "Warn" if all(command.tolerated for command in checks) else "Fail"}, notes


def _tests(found: Description, layers: Mapping[str, DbtCommand]) -> tuple[Spec, list[Note]]:
    """Return the step `tests`: the tests of all commands, since a refresh has one such step."""
    builds = [command for command in layers.values() if command.verb is Verb.BUILD and command.tests is not TestKind.NONE]
    testing = [*builds, *(command for command in found.commands if command.verb is Verb.TEST and command.tests is not TestKind.NONE)]
    if not testing:
        return {}, []
    selected = list(dict.fromkeys(selector for command in testing for selector in selections_of_tests(command)))
    if "fqn:*" in selected:
        selected = ["fqn:*"]
    excluded = [set(command.exclude) for command in testing]
    common = [selector for selector in dict.fromkeys(testing[0].exclude) if all(selector in each for each in excluded)]
    notes = [Note("", "if the selection of `tests` has no test, a refresh fails: remove the step then")]
    if any(each != set(common) for each in excluded):
        notes.append(Note("", "the commands exclude different tests; a refresh has one selection: it runs all that any of them runs", True))
    tests: Spec = {"select": list(selected), "exclude": list(common)} if common else {"select": list(selected)}
    policy = "Warn" if all(command.tolerated for command in testing) else "Fail"
    return {**tests, "failurePolicy": policy} | _step_limits(found, testing), notes


def _notifications(found: Description) -> tuple[list[JsonValue], list[Note]]:
    good = [address for address in dict.fromkeys(found.emails) if _is_valid(Email, address)]
    notes = [Note("", "an address for notifications is no mail address, and left out") for each in found.emails if each not in good]
    if not good:
        return [], notes
    text = "create the Secret smtp with the keys host and from; optional: port, user, password, security"
    email: Spec = {"to": list(good[:20]), "smtpSecretRef": {"name": "smtp"}}
    return [{"email": email, "when": ["Failed"]}], [Note("", text, decide=True), *notes]


def within(folder: str, clone: str) -> str:
    """Return the path of a folder inside a clone; `.` if it is elsewhere."""
    try:
        return str(PurePosixPath(folder).relative_to(clone))
    except ValueError:
        return "."


def placed(project: GitProject | None, clone: str | None, commands: Sequence[DbtCommand]) -> GitProject | None:
    """Return the project with the path of the folder in which the first command runs, if that is inside the clone."""
    folder = next((command.folder for command in commands if command.folder), None)
    if project is None or clone is None or folder is None:
        return project
    return GitProject(project.url, project.ref, within(folder, clone), project.secret)
