"""Checks events by the classes of OpenLineage's own client, which that project generates from its published JSON schemas.

Stricter than a server: a field that the schema does not name is an error here, too.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from enum import Enum
from typing import Any

import attr
from openlineage.client import generated
from openlineage.client.generated import base
from openlineage.client.generated.base import BaseFacet, RunEvent

Json = dict[str, Any]
_CONTAINERS = {"facets", "inputFacets", "outputFacets"}


def checked(event: Json) -> Json:
    """Return the event; AssertionError if it is not one by the schemas."""
    _check(RunEvent, event, "event")
    assert event["schemaURL"] == RunEvent._get_schema()
    return event


def _facets() -> dict[str, type[BaseFacet]]:
    """Return all published classes of facets by name."""
    found: dict[str, type[BaseFacet]] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for name, value in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).items():
            if isinstance(value, type) and issubclass(value, BaseFacet):
                found[name] = value
    return found


FACETS = _facets()


def _check(cls: type, value: Any, where: str) -> None:
    assert isinstance(value, dict), f"{where}: not an object"
    hints = typing.get_type_hints(cls, vars(importlib.import_module(cls.__module__)) | vars(base))
    fields = {each.name: each for each in attr.fields(cls)}
    assert value.keys() <= fields.keys(), f"{where}: unknown fields {value.keys() - fields.keys()}"
    missing = {name for name, each in fields.items() if each.default is attr.NOTHING} - value.keys()
    assert not missing, f"{where}: {missing} missing"
    for name, inner in value.items():
        if name in _CONTAINERS:
            for key, facet in inner.items():
                _check_facet(hints[name], facet, f"{where}.{name}.{key}")
        else:
            _check_value(hints[name], inner, f"{where}.{name}")
    # The class's own validators: times, UUIDs and addresses.
    for name, each in fields.items():
        if each.validator and name in value:
            each.validator(None, each, value[name])


def _check_facet(hint: Any, facet: Json, where: str) -> None:
    url = facet["_schemaURL"]
    cls = FACETS[url.rpartition("/")[2]]
    assert cls._get_schema() == url, f"{where}: not the address of {cls.__name__}"
    (container,) = [each for each in typing.get_args(hint) if each is not type(None)] or [hint]
    assert issubclass(cls, typing.get_args(container)[1]), f"{where}: {cls.__name__} belongs elsewhere"
    assert facet["_producer"]
    _check(cls, facet, where)


def _check_value(hint: Any, value: Any, where: str) -> None:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    kind = next(each for each in kinds if each is not type(None))
    if typing.get_origin(kind) is list:
        assert isinstance(value, list), f"{where}: not a list"
        for number, each in enumerate(value):
            _check_value(typing.get_args(kind)[0], each, f"{where}[{number}]")
    elif attr.has(kind):
        _check(kind, value, where)
    elif issubclass(kind, Enum):
        assert value in {each.value for each in kind}, f"{where}: {value!r}"
    else:
        assert type(value) is kind, f"{where}: {value!r} is not {kind}"
