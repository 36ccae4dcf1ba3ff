"""Collects what a reader finds on its way through a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from refresh_runner.importers.description import DbtCommand, Description, GitProject, Note, UnreadableError
from refresh_runner.importers.shell import Script

_LONGEST: Final = 10**9
"""Seconds that are more than any limit of a refresh, and that a timedelta can have."""


@dataclass
class Findings:
    """Commands, notes and hidden values, in the order in which they were found."""

    commands: list[DbtCommand] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    installs_packages: bool = False
    project: GitProject | None = None
    clone: str | None = None
    """Folder into which the project is cloned."""

    def note(self, place: str, text: str) -> None:
        """Add a note on a difference."""
        self.notes.append(Note(place, text))

    def decide(self, place: str, text: str) -> None:
        """Add a note on something that a person must decide."""
        self.notes.append(Note(place, text, decide=True))

    def add(self, script: Script, label: str = "") -> None:
        """Add what a script means. Its commands bear the label of the task that runs it."""
        self.commands += [replace(command, label=label) for command in script.commands]
        self.notes += script.notes
        self.hidden += script.hidden
        self.installs_packages = self.installs_packages or script.installs_packages
        if script.project:
            self.project, self.clone = script.project, script.clone

    def complete(self, description: Description) -> Description:
        """Return the description with what was found."""
        return replace(
            description,
            commands=tuple(self.commands),
            notes=(*description.notes, *self.notes),
            hidden=(*description.hidden, *self.hidden),
            credentials=tuple(dict.fromkeys(self.credentials)),
            installs_packages=self.installs_packages,
        )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Candidate = TypeVar("Candidate", bound=_Named)


def chosen(candidates: Sequence[Candidate], what: str, only: str | None) -> Candidate:
    """Return the one of that name, or the single one. Raise UnreadableError that lists the names if that is not one."""
    matching = [each for each in candidates if only is None or each.name == only]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(dict.fromkeys(each.name for each in candidates))
    if not candidates:
        raise UnreadableError(f"there is no {what} in it")
    if only is not None:
        raise UnreadableError(f"--only {only}: {'several have' if matching else f'no {what} has'} this name; there are {names}")
    raise UnreadableError(f"there are {len(candidates)} of {what}; choose one by --only: {names}")


def seconds(value: object) -> timedelta | None:
    """Return a limit of time in seconds, as a number or a text; None for no limit, which some tools write as 0, and for anything else."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value) else value
    if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
        return None
    return timedelta(seconds=min(number, _LONGEST))
