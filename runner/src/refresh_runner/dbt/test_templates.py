"""Statements of data tests as templates, with placeholders for the values that each run fills in.

A data test is usually one statement that is the same in every run, except for the database, the schemas in which marts are built, and the
date. Whether a test is like that is decided by its templates (template_purity.py) and by two dry runs, for two databases, two dates and two
locations of the tables. If the two statements differ in nothing else, the test is stored as a template. dbt compiles all other tests in
every run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from refresh_runner.dbt.names_as_text import texts_of

_DATABASE: Final = "\ue000"
_DATE: Final = "\ue001"
"""Placeholders for a run's own values: characters that no statement contains."""
_PLAIN_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Statements = Mapping[str, str]
"""Templates by the ID of the test."""


@dataclass(frozen=True)
class RenderContext:
    """The values that differ between two runs of the same tests."""

    database: str
    as_of: str
    """The run's date, as YYYY-MM-DD."""
    staged: Mapping[str, str]
    """dbt's names of staging relations, by dbt's names of the live ones."""

    def template(self, statement: str) -> str:
        """Return a statement that was sent in this context, with placeholders in place of the context's values."""
        for live, staged in self.staged.items():
            statement = _renamed(statement, staged, live)
        statement = statement.replace(f'"{self.database}".', f'"{_DATABASE}".')
        return _renamed(statement, self.database, _DATABASE, before=r"(?=\.)").replace(self.as_of, _DATE)

    def render(self, template: str) -> str:
        """Return the statement to send in this context."""
        statement = self._filled_in(template)
        for live, staged in self.staged.items():
            statement = _renamed(statement, live, staged)
        return statement

    def is_in_texts(self, template: str) -> bool:
        """Return whether a string literal in the template contains the name of a mart, which is data there and must not be rendered."""
        return any(self.render(text) != self._filled_in(text) for text in texts_of(template))

    def _filled_in(self, template: str) -> str:
        return template.replace(_DATABASE, self.database).replace(_DATE, self.as_of)

    @property
    def can_render(self) -> bool:
        """Return whether templates can be rendered: users may set the variable of the date to anything, but it must be a date."""
        return bool(_PLAIN_DATE.fullmatch(self.as_of))


def agreed(one: RenderContext, ones: Statements, other: RenderContext, others: Statements) -> dict[str, str]:
    """Return the templates on which two dry runs agree, by the ID of the test."""
    found = {id_: other.template(statement) for id_, statement in others.items()}
    templates = {id_: template for id_, statement in ones.items() if (template := one.template(statement)) == found.get(id_)}
    return {id_: template for id_, template in templates.items() if not one.is_in_texts(template)}


def _renamed(statement: str, name: str, other: str, before: str = "") -> str:
    """Return a statement in which one name, quoted or not, is replaced by another wherever it is a whole name."""
    if name.startswith('"') and name.endswith('"'):
        return statement.replace(name, other)
    whole = re.escape(name)
    if not name.startswith('"'):
        whole = rf'(?<![\w"$.]){whole}'
    if not name.endswith('"'):
        whole = rf'{whole}(?![\w"$])'
    return re.sub(whole + before, lambda _found: other, statement)
