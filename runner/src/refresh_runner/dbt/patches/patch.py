"""Changing dbt's own classes and modules for as long as something lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def changed(owner: type | ModuleType, **attributes: object) -> Iterator[None]:
    """Let a class or module have attributes of ours while inside, in the place of its own or inherited ones; all is as before afterwards.

    AttributeError for one that it does not have: what dbt calls by another name it would go on to do in its own way, and nobody knew.
    """
    for name in attributes:
        getattr(owner, name)
    before = {name: vars(owner)[name] for name in attributes if name in vars(owner)}
    for name, value in attributes.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in attributes:
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)
