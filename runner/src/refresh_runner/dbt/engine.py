"""What the runner asks of dbt: parse a project, execute commands, and stop.

An engine gives what dbt writes down as manifest.json and run_results.json, whichever way it gets it. So it can call dbt in this process,
as `in_process.py` does, or start a program and read its files: it needs no class of dbt-core that takes a manifest or callbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from refresh_runner.model.step_results import Node

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

OnLine = Callable[[str, str], None]
"""Takes a level (debug, info, warn, error) and a line of dbt's output."""
OnCompleted = Callable[[str], None]
"""Takes the id of a node whose work is committed; may be called on any thread, so it neither raises nor waits."""


class HookKind(StrEnum):
    """When hooks of a project run."""

    START = "on-run-start"
    END = "on-run-end"


@dataclass(frozen=True)
class Command:
    """One command of dbt for exactly these nodes; hooks of the project do not run."""

    name: str
    """`run`, `build`, `test`, `compile` or `source freshness`."""
    nodes: tuple[Node, ...]
    limit: timedelta
    """No statement runs longer."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeOutcome:
    """What dbt says of one node, source or hook that it ran or skipped; as in run_results.json."""

    id: str
    name: str
    status: str
    """dbt's own word: success, pass, warn, fail, error, skipped, …"""
    message: str = ""
    seconds: float = 0.0
    sqlstate: str | None = None
    """Of the last error on the node's connection, where the engine can tell."""
    compiled_code: str | None = None
    age: timedelta | None = None
    """For a source: how long ago it was loaded; None for never."""
    is_hook: bool = False


@dataclass(frozen=True)
class Outcome:
    """What dbt says of one command."""

    success: bool
    results: tuple[NodeOutcome, ...] | None = None
    """None where dbt did not come to run nodes."""
    error: str | None = None
    """The message of dbt's exception, or of the result at which it stopped."""
    is_exception: bool = False
    sqlstate: str | None = None
    """For errors that belong to no node."""


class Engine(Protocol):
    """dbt, for one project and one warehouse. Not for use by several threads, except `shutdown`."""

    session_settings: Mapping[str, str]
    """Parameters to set at the start of each session in the warehouse, beside its timeouts."""
    on_completed: OnCompleted
    completed: set[str]
    """Ids of the nodes that the last command completed, even if it was stopped."""

    def parse(self) -> Manifest:
        """Read the project; RunFailedError with InvalidProject says what is wrong in it."""

    def execute(self, command: Command) -> Outcome:
        """Execute a command; KeyboardInterrupt if it is stopped."""

    def run_hooks(self, kind: HookKind, nodes: Sequence[Node], kept: Sequence[Node], unpublished: str, limit: timedelta) -> Outcome:
        """Run the project's hooks of one kind for a run of these nodes, some of them `kept` from an earlier attempt.

        `unpublished` says why the staged nodes are not live; empty where they are.
        """

    def test(self, tests: Sequence[Node], limit: timedelta) -> Outcome:
        """Run tests, by statements that were compiled earlier where the engine has them."""

    def compile_tests(self, tests: Sequence[Node], limit: timedelta) -> Outcome:
        """Compile tests to statements that return all columns of the rows that they find, where their macros can."""

    def stage(self, node_id: str, schema: str, note: str = "") -> None:
        """Build a model in this schema; all references read it there. RunFailedError if the engine cannot."""

    def run_results(self) -> Mapping[str, object] | None:
        """Return what run_results.json would hold after one command with all nodes that were built or tested; None without any."""

    def shutdown(self) -> None:
        """Close all connections to the warehouse and open no others; called from another thread than the one that waits."""
