"""Decides whether the earlier result of a node is reused. A pure function: it is given what is known, and asks for more only if needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from refresh_runner.reuse.results import Result


@dataclass(frozen=True)
class Decision:
    """Whether a node is reused, and why."""

    is_reused: bool
    reason: str
    """For a log line."""


def decide(
    recipe: str, unfit: str, stored: Result | None, content_of: Callable[[str], str], change_of_output: Callable[[Result], str]
) -> Decision:
    """Decide about one node.

    `recipe` is what it would be built by now, `unfit` why its kind is never reused. `content_of` returns what a relation contains now;
    `change_of_output` returns how the node's own relation differs from its result, empty if it does not. Both are called only while
    everything else is equal, because they query the warehouse.
    """
    if unfit:
        return Decision(False, unfit)
    if stored is None:
        return Decision(False, "nothing is known of an earlier result")
    if not stored.recipe:
        return Decision(False, "it is not known how its relation was built")
    if stored.recipe != recipe:
        return Decision(False, "its SQL, its settings, the project's macros or the server have changed")
    if stored.unsafe:
        return Decision(False, stored.unsafe)
    if changed := changed_input(stored.inputs, content_of):
        return Decision(False, f"{changed} has changed")
    if change := change_of_output(stored):
        return Decision(False, change)
    return Decision(True, f"nothing that it depends on has changed since {stored.run_id}")


def changed_input(inputs: Mapping[str, str], content_of: Callable[[str], str]) -> str:
    """Return the first relation that does not contain what it did; empty if all do."""
    return next((name for name, content in sorted(inputs.items()) if not content or content_of(name) != content), "")
