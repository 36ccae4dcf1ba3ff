"""Writes a DashboardRefresh as YAML, with comments on what has no counterpart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Final

import yaml

from refresh_api.names import API_VERSION, KIND
from refresh_api.plain import one_line
from refresh_api.redaction import Redactor
from refresh_runner.importers.commands import COMPUTED
from refresh_runner.importers.description import Description, Note, Overrides, UnreadableError
from refresh_runner.importers.steps import Written, written
from refresh_runner.model.kubectl_yaml import KubectlLoader
from refresh_runner.model.loader import InvalidRunRequestError, documents_in, manifest_of

_WIDTH: Final = 120
_SUSPENDED: Final = {
    False: "the old schedule still runs: remove this when it is paused, and when what is listed above is decided",
    True: "the source is suspended, too: remove this when what is listed above is decided",
}
"""Comment on `suspend`, by whether the source is suspended."""


class _Dumper(yaml.SafeDumper):
    """Quotes what kubectl would read as another type, such as `y` and 1e3."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature of PyYAML
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - the signature of PyYAML
        super().increase_indent(flow, False)


_Dumper.yaml_implicit_resolvers = {
    first: [*KubectlLoader.yaml_implicit_resolvers.get(first, []), *yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])]
    for first in {*KubectlLoader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def manifest(found: Description, overrides: Overrides) -> str:
    """Return the manifest of a description, without any of its hidden values.

    Raise UnreadableError if it builds nothing, or if a field would be invalid.
    """
    redact = Redactor(found.hidden)
    refresh = _redacted(written(found, overrides), redact)
    text = "\n".join(_lines(found, refresh)) + "\n"
    try:
        for document in documents_in(text.encode(), "the refresh"):
            manifest_of(document).run_request()
    except InvalidRunRequestError as error:
        raise UnreadableError(f"{found.source}: what was read makes no valid refresh: {redact(str(error))}") from error
    return text


def _redacted(refresh: Written, redact: Redactor) -> Written:
    """Return the refresh with a mask for each hidden value. Masked later, in the YAML, it would be another value."""
    notes = tuple(replace(note, place=_said(note.place, redact), text=_said(note.text, redact)) for note in refresh.notes)
    spec = {key: redact.inside(value) for key, value in refresh.spec.items()}
    return Written(redact(refresh.name), spec, notes)


def _said(text: str, redact: Redactor) -> str:
    return one_line(redact(text).replace(COMPUTED, "…"))


def _lines(found: Description, refresh: Written) -> Iterator[str]:
    yield from _comment(f"Imported from {found.source}.")
    for title, decide in (("Decide before the first run:", True), ("Different from the source:", False)):
        if notes := [note for note in dict.fromkeys(refresh.notes) if note.decide is decide]:
            yield "#"
            yield f"# {title}"
            yield from _items(notes)
    yield f"apiVersion: {API_VERSION}"
    yield f"kind: {KIND}"
    yield from _yaml({"metadata": {"name": refresh.name}})
    yield "spec:"
    for key, value in refresh.spec.items():
        if key == "suspend":
            yield from (f"  {line}" for line in _comment(_SUSPENDED[found.is_suspended]))
        # a cron line is always quoted, as people write it
        lines = [f"{key}: {json.dumps(value)}"] if key == "schedule" else _yaml({key: value})
        yield from (f"  {line}" for line in lines)


def _items(notes: Sequence[Note]) -> Iterator[str]:
    for note in notes:
        text = f"{note.place}: {note.text}" if note.place else note.text
        yield from wrap(text, _WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False, break_on_hyphens=False)


def _comment(text: str) -> Iterator[str]:
    yield from wrap(one_line(text), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False)


def _yaml(value: dict[str, object]) -> Iterator[str]:
    # None: lists and mappings of plain values are in one line. A field with a plain value is such a mapping itself.
    style = None if any(isinstance(each, dict | list) for each in value.values()) else False
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=style, width=_WIDTH, allow_unicode=True)
    yield from text.splitlines()
