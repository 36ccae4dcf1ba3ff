"""Changing dbt's own classes for as long as something lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def changed(owner: type, **attributes: object) -> Iterator[None]:
    """Let a class have attributes of ours while inside, in the place of its own or of inherited ones; it is as it was afterwards."""
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
