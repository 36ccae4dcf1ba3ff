"""The runner's interface to dbt: parse a project, execute commands, and stop.

An engine returns the content of manifest.json and run_results.json. It may call dbt in this process, as `in_process.py` does, or start a
program and read its files. It needs no class of dbt-core that accepts a manifest or callbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from refresh_runner.model.step_results import Node
from refresh_runner.postgres.catalog import Relation

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

OnLine = Callable[[str, str], None]
"""Called with a level (debug, info, warn, error) and a line of dbt's output."""
OnCompleted = Callable[[str], None]
"""Called with the ID of a node whose work is committed, on any thread. It must neither raise nor wait."""


class HookKind(StrEnum):
    """When hooks of a project run."""

    START = "on-run-start"
    END = "on-run-end"


@dataclass(frozen=True)
class Command:
    """One dbt command for exactly these nodes, without the project's hooks."""

    name: str
    """`run`, `build`, `test`, `compile` or `source freshness`."""
    nodes: tuple[Node, ...]
    limit: timedelta
    """Maximum duration of a statement."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeOutcome:
    """dbt's result for one node, source or hook that it ran or skipped, as in run_results.json."""

    id: str
    name: str
    status: str
    """dbt's status: success, pass, warn, fail, error, skipped, …"""
    message: str = ""
    seconds: float = 0.0
    sqlstate: str | None = None
    """SQLSTATE of the last error on the node's connection, if the engine knows it."""
    compiled_code: str | None = None
    age: timedelta | None = None
    """For a source: how long ago it was loaded; None if never."""
    is_hook: bool = False
    rows: int | None = None
    """Number of rows written; None if dbt does not know it, as for a view."""


@dataclass(frozen=True)
class Outcome:
    """dbt's result for one command."""

    success: bool
    results: tuple[NodeOutcome, ...] | None = None
    """None if dbt did not get as far as running nodes."""
    error: str | None = None
    """The message of dbt's exception, or of the result that stopped the command."""
    is_exception: bool = False
    sqlstate: str | None = None
    """SQLSTATE for errors that belong to no node."""


class CandidateKind(StrEnum):
    """How dbt builds a node whose earlier result may be reused."""

    TABLE = "table"
    VIEW = "view"
    SEED = "seed"
    TEST = "test"
    OTHER = "other"
    """In another way, which depends on more than its SQL. It is reused only if the project says that building it again changes nothing."""


@dataclass(frozen=True)
class ColumnRule:
    """A rule about one column: `not_null` or `unique`."""

    name: str
    place: Relation
    """Where the test reads the column's relation."""
    column: str
    """Its name in PostgreSQL's catalog."""


@dataclass(frozen=True)
class Candidate:
    """A compiled node that dbt is about to build or test, unless its earlier result is reused."""

    id: str
    name: str
    kind: CandidateKind
    relation: Relation | None
    """The live relation that it builds; None for a test."""
    built_as: Relation | None
    """Where it is built: the same, or its staging relation."""
    statement: str
    """The compiled SQL, with the names of staging relations."""
    recipe: str
    """Digest of the SQL, by live names, and of all settings that affect the result."""
    reads: frozenset[Relation]
    """The live relations that it names by `ref` or `source`, and those of ephemeral models among them."""
    places: Mapping[Relation, Relation]
    """The live relations by where the statement reads them."""
    unfit: str
    """Why its result is never reused; empty if it may be."""
    is_strict: bool = False
    """Whether a test fails if its limit for errors is exceeded (severity: error), and does not only warn."""
    rule: ColumnRule | None = None
    """The rule that a test checks, if a constraint of PostgreSQL can enforce it."""


@dataclass(frozen=True)
class Verdict:
    """What a data test found: the number of failures, and whether its limits for warnings and errors are exceeded."""

    failures: int
    should_warn: bool
    should_error: bool


class NodeReuse(Protocol):
    """Decides which nodes are reused. dbt's threads call it for each node, once all nodes upstream have ended."""

    def is_reused(self, candidate: Candidate) -> bool:
        """Return whether the model need not be built."""

    def verdict(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict that a test would give; None if it must run."""

    def built(self, candidate: Candidate, rows: int | None) -> None:
        """Record that dbt has built a node, with this number of rows if dbt knows it."""

    def tested(self, candidate: Candidate, verdict: Verdict) -> None:
        """Record what a test has found."""


class Engine(Protocol):
    """dbt for one project and one warehouse. Not thread-safe, except for `shutdown`."""

    session_settings: Mapping[str, str]
    """Parameters to set at the start of each session in the warehouse, in addition to its timeouts."""
    on_completed: OnCompleted
    completed: set[str]
    """IDs of the nodes that the last command completed, even if it was stopped."""

    def parse(self) -> Manifest:
        """Parse the project. Raise RunFailedError with InvalidProject if dbt cannot parse it."""

    def execute(self, command: Command) -> Outcome:
        """Execute a command. Raise KeyboardInterrupt if it is stopped."""

    def run_hooks(self, kind: HookKind, nodes: Sequence[Node], kept: Sequence[Node], unpublished: str, limit: timedelta) -> Outcome:
        """Run the project's hooks of one kind for a run of these nodes.

        `kept` nodes were built by an earlier attempt. `unpublished` says why the staged nodes are not live; empty if they are.
        """

    def test(self, tests: Sequence[Node], limit: timedelta) -> Outcome:
        """Run tests, using statements compiled in advance if the engine has them."""

    def compile_tests(self, tests: Sequence[Node], limit: timedelta) -> Outcome:
        """Compile tests to statements that return all columns of the failing rows, as far as their macros allow."""

    def stage(self, node_id: str, schema: str, note: str = "") -> None:
        """Build a model in this schema, where all references read it. Raise RunFailedError if the engine cannot do so."""

    def run_results(self) -> Mapping[str, object] | None:
        """Return the content of run_results.json as if one command had built and tested all nodes of the run; None if there were none."""

    def shutdown(self) -> None:
        """Close all connections to the warehouse and open no new ones. Called from another thread than the one that waits."""
