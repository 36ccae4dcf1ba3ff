"""The declaration of a patch of dbt: its purpose, what it expects of dbt, and whether a run works without it.

dbt's classes are not a public interface, and any version of dbt may change them. Therefore each patch declares the symbols that it replaces
or calls, with their parameters. They are compared with dbt's before the patch is applied. If they differ, an optional patch is switched off
with a line in the log, and a required patch fails the run before anything is built.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from importlib.metadata import version
from typing import Final

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError

log = logging.getLogger(__name__)

SWITCH: Final = "REFRESH_DBT_PATCHES"
"""Environment variable: `off` switches off all optional patches, `-NAME,-NAME` those of these names."""


@dataclass(frozen=True)
class Symbol:
    """A function, method or class of dbt that a patch replaces or calls."""

    module: str
    name: str
    """Its name including the class, such as `NodeSelector.get_selected`."""
    parameters: str
    """Names of its parameters, in order."""
    kind: str = ""
    """`classmethod` or `staticmethod`; empty for anything else."""

    def mismatch(self) -> str | None:
        """Return how dbt's symbol differs from the expected one; None if it does not."""
        path = f"{self.module}.{self.name}"
        try:
            symbol: object = importlib.import_module(self.module)
            for part in self.name.split("."):
                symbol = inspect.getattr_static(symbol, part)
        except (ImportError, AttributeError):
            return f"dbt has no {path}"
        kind = ""
        if isinstance(symbol, classmethod | staticmethod):
            kind, symbol = type(symbol).__name__, symbol.__func__
        if kind != self.kind:
            return f"{path} is a {kind or 'plain function'}, expected a {self.kind or 'plain function'}"
        if not callable(symbol):
            return f"{path} is not callable"
        parameters = ", ".join(inspect.signature(symbol).parameters)
        return None if parameters == self.parameters else f"{path} takes ({parameters}), expected ({self.parameters})"


@dataclass(frozen=True)
class Patch:
    """A change of dbt's classes at run time."""

    name: str
    purpose: str
    """Its purpose, in one sentence."""
    symbols: tuple[Symbol, ...]
    required_for: str = ""
    """What does not work without it; empty for an optional patch."""
    saves_ms: int | None = None
    """CPU time that an optional patch saves in a small run, as measured by `make bench-dbt-patches`; None if it does not serve speed.

    Measured once on two busy cores, where a run took 5.1 s with all patches and 9.4 s without any; 0 for less than the noise of 300 ms.
    """

    @property
    def is_on(self) -> bool:
        """Whether to apply the patch. Raise RunFailedError if it is required and does not fit this version of dbt."""
        return _is_on(self, os.environ.get(SWITCH, ""))

    @property
    def fits(self) -> bool:
        """Return whether dbt's symbols match the expected ones."""
        return _mismatch(self) is None

    def once(self, apply: Callable[[], None]) -> Callable[[], None]:
        """Decorate a function that applies the patch for the lifetime of the process: it is called once, and only if the patch is on."""

        @cache  # applied twice, a patch would wrap itself
        @wraps(apply)
        def apply_once() -> None:
            if self.is_on:
                apply()

        return apply_once

    def require(self) -> None:
        """Raise RunFailedError if the patch does not fit this version of dbt."""
        if why := _mismatch(self):
            message = f"{self.required_for} is not possible with dbt-core {version('dbt-core')}: {why}"
            raise RunFailedError(Failure(Reason.DBT_FAILED, message, hint="install a version of dbt-core that the runner supports"))


@cache
def _mismatch(patch: Patch) -> str | None:
    return next((why for symbol in patch.symbols if (why := symbol.mismatch())), None)


@cache  # so that a mismatch is logged once
def _is_on(patch: Patch, switch: str) -> bool:
    if patch.required_for:
        patch.require()
        return True
    if switch.lower() == "off" or f"-{patch.name}" in switch.split(","):
        return False
    if why := _mismatch(patch):
        log.warning("dbt patch %s is off with dbt-core %s: %s", patch.name, version("dbt-core"), why)
        return False
    return True


@contextmanager
def patched(owner: object, **attributes: object) -> Iterator[None]:
    """Replace own or inherited attributes of an object, class or module, and restore them. Raise AttributeError if one does not exist."""
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
