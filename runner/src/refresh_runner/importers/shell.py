"""Shell scripts as far as they only run dbt: simple commands, joined by `&&`, `||`, `;` and line ends."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from refresh_runner.importers.commands import COMPUTED, parse_dbt
from refresh_runner.importers.description import DbtCommand, GitProject, Note
from refresh_runner.importers.hidden import logins

_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_JOIN: Final = "\ue001"
"""Stands for the end of a line that the next one continues."""
_PUNCTUATION: Final = ";&|()<>\n"
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=.*", re.DOTALL)
_KEYWORDS: Final = frozenset("if then else elif fi for while until do done case esac function select { } [[ !".split())
_QUIET: Final = frozenset(": . [ cd date echo env exit export ls mkdir printf pwd set sleep source tee test true umask unset wait".split())
"""Programs that prepare or print something, and whose work a refresh does not need."""
_PREFIXES: Final = (("exec",), ("nohup",), ("time",), ("poetry", "run"), ("uv", "run"), ("pipenv", "run"), ("pdm", "run"))
"""Words with which a line may begin, before the program that it runs."""
_SHELLS: Final = frozenset({"ash", "bash", "dash", "ksh", "sh", "zsh"})


@dataclass(frozen=True)
class Script:
    """What a script means."""

    commands: tuple[DbtCommand, ...] = ()
    installs_packages: bool = False
    project: GitProject | None = None
    clone: str | None = None
    """Folder into which the project is cloned."""
    notes: tuple[Note, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Statement:
    words: tuple[str, ...]
    tolerated: bool = False
    """Whether the script goes on, or succeeds, after the statement has failed."""
    line: int = 0
    """Line of the script; 0 if it has one line only."""


@dataclass
class _Reading:
    """What has been read of a script so far."""

    place: str
    folder: str | None
    script: Script = field(default_factory=Script)
    named: list[str] = field(default_factory=list)
    """Variables that the script sets."""

    line: int = 0

    @property
    def here(self) -> str:
        """The place of the statement."""
        return f"{self.place}, line {self.line} of the script" if self.line else self.place

    def note(self, text: str, *, decide: bool = False) -> None:
        self.script = replace(self.script, notes=(*self.script.notes, Note(self.here, text, decide)))

    def hide(self, *values: str) -> None:
        self.script = replace(self.script, hidden=(*self.script.hidden, *values))


def mask_templates(text: str) -> str:
    """Return a text with a mark for each Jinja template."""
    return _TEMPLATE.sub(COMPUTED, text)


def of_words(words: Sequence[str], place: str, folder: str | None = None) -> Script:
    """Return what a process means that is started with these words, without or with a shell."""
    for number, word in enumerate(words):
        if PurePosixPath(words[0]).name in _SHELLS and re.fullmatch(r"-[a-z]*c[a-z]*", word):
            script = words[number + 1] if number + 1 < len(words) else ""
            return of_script(script, place, folder, stops_at_errors="e" in word or "-e" in words[:number])
    reading = _Reading(place, folder)
    reading.hide(*(login for word in words for login in logins(word)))
    _read(reading, _Statement(tuple(mask_templates(word) for word in words)))
    return reading.script


def of_script(text: str, place: str, folder: str | None = None, *, stops_at_errors: bool = False) -> Script:
    """Return what a script means. A script that does more than to run one program after the other is a note."""
    reading = _Reading(place, folder)
    reading.hide(*logins(text))
    try:
        statements = list(_statements(mask_templates(text), stops_at_errors))
    except ValueError as error:
        reading.note(f"the script is not converted: {error}", decide=True)
        return reading.script
    for statement in statements:
        _read(reading, statement)
    if reading.named:
        reading.line = 0
        reading.note(f"the script sets {', '.join(dict.fromkeys(reading.named))}: what models read by env_var() belongs in `dbt.vars`")
    return reading.script


def _statements(text: str, stops_at_errors: bool) -> Iterator[_Statement]:
    """Yield the statements of a script; ValueError if it has more than simple commands."""
    lines = ["" if line.lstrip().startswith("#") else line for line in text.strip().replace("\\\n", f" {_JOIN} ").splitlines()]
    found: list[tuple[list[str], str]] = []
    words: list[str] = []
    starts: list[int] = []
    number = start = 1
    for token in [*_tokens("\n".join(lines)), ";"]:
        if not token.strip(_PUNCTUATION) and token:
            if words:
                found.append((words, _operator(token)))
                starts.append(start)
            words = []
        elif token != _JOIN:
            start = start if words else number
            words.append(token.replace(_JOIN, ""))
        number += token.count("\n") + token.count(_JOIN)
    errexit = stops_at_errors or any(each[0] == "set" and re.match(r"-[a-z]*e", " ".join(each[1:])) for each, _ in found)
    skipped = False
    for number, (each, operator) in enumerate(found):
        if skipped:  # what follows `||` runs only after a failure
            skipped = operator == "||"
            continue
        if each[0] in _KEYWORDS:
            raise ValueError(f"it has `{each[0]}`; only commands one after the other are read")
        alternative = found[number + 1][0] if operator == "||" and number + 1 < len(found) else None
        fails_on = alternative is not None and alternative[0] == "exit" and alternative[1:] != ["0"]
        goes_on = not errexit and any(op == ";" for _, op in found[number : len(found) - 1])
        tolerated = operator == "|" or (not fails_on if alternative else goes_on)
        yield _Statement(tuple(each), tolerated, starts[number] if len(lines) > 1 else 0)
        skipped = operator == "||"


def _tokens(text: str) -> Iterator[str]:
    """Yield words and operators, without redirections."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    tokens = list(lexer)
    number = 0
    while number < len(tokens):
        token = tokens[number]
        following = tokens[number + 1] if number + 1 < len(tokens) else ""
        if token.isdecimal() and following.startswith(">"):
            number += 1
        elif token in (">", ">>", ">&", "&>", "<"):
            number += 2
        elif "(" in token or ")" in token or "<<" in token:
            if not token.strip(_PUNCTUATION):
                raise ValueError(f"it has `{token.strip()}`; only commands one after the other are read")
            number += 1
            yield token
        else:
            number += 1
            yield token


def _operator(token: str) -> str:
    for operator in ("&&", "||", "|"):
        if operator in token:
            return operator
    if "&" in token:
        raise ValueError("it runs a command in the background; only commands one after the other are read")
    return ";"


def _read(reading: _Reading, statement: _Statement) -> None:
    words = list(statement.words)
    reading.line = statement.line
    while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
        reading.named.append(assigned[1])
        words = words[1:]
    for prefix in _PREFIXES:
        if tuple(words[: len(prefix)]) == prefix:
            words = words[len(prefix) :]
    match words:
        case []:
            return
        case ["cd", folder, *_]:
            reading.folder = str(PurePosixPath(reading.folder or "", folder))
        case ["export", *assignments]:
            reading.named += [each.partition("=")[0] for each in assignments]
        case ["git", "clone", *rest]:
            _clone(reading, rest)
        case [program, *rest] if PurePosixPath(program).name == "dbt":
            _dbt(reading, rest, statement)
        case [program, *_] if PurePosixPath(program).name in ("pip", "pip3", "uv"):
            reading.note(f"`{PurePosixPath(program).name}` installs packages of Python: the runner's image has dbt-core and dbt-postgres")
        case [program, *_] if program not in _QUIET:
            name = PurePosixPath(program).name
            what = f"`{name}` is not dbt" if re.fullmatch(r"[\w.+-]{1,40}", name) else "a program that is computed when the source runs"
            reading.note(f"{what}: have another Job do it, before this refresh or after it", decide=True)


def _dbt(reading: _Reading, words: Sequence[str], statement: _Statement) -> None:
    parsed = parse_dbt(words, reading.here)
    script = reading.script
    commands = script.commands
    if command := parsed.command:
        folder = str(PurePosixPath(reading.folder or "", command.folder)) if command.folder else reading.folder
        commands = (*commands, replace(command, folder=folder, tolerated=statement.tolerated))
    reading.script = replace(
        script,
        commands=commands,
        installs_packages=script.installs_packages or parsed.installs_packages,
        notes=(*script.notes, *parsed.notes),
        hidden=(*script.hidden, *parsed.hidden),
    )


def _clone(reading: _Reading, words: Sequence[str]) -> None:
    """Read `git clone`: its address, branch and folder."""
    rest, ref = list(words), None
    places: list[str] = []
    while rest:
        word = rest.pop(0)
        if word in ("-b", "--branch") and rest:
            ref = rest.pop(0)
        elif word.startswith("--branch="):
            ref = word.partition("=")[2]
        elif word in ("--depth", "-c", "--config", "-o", "--origin", "--filter", "-j", "--jobs") and rest:
            rest.pop(0)
        elif not word.startswith("-"):
            places.append(word)
    if not places or "$" in "".join([*places, ref or ""]) or COMPUTED in "".join([*places, ref or ""]):
        reading.note("git clone gets its address or branch when the source runs: set `project.git`", decide=True)
        return
    folder = places[1] if len(places) > 1 else places[0].rstrip("/").rpartition("/")[2].removesuffix(".git")
    clone = str(PurePosixPath(reading.folder or "", folder))
    reading.script = replace(reading.script, project=GitProject(places[0], ref), clone=clone)
