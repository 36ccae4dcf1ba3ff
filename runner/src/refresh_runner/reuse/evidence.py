"""What is known about the nodes of one run before they are built: earlier results, the environment, and what relations contain now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

import psycopg

from refresh_runner.dbt.engine import Candidate, CandidateKind
from refresh_runner.postgres.catalog import Relation
from refresh_runner.reuse import results
from refresh_runner.reuse.constraints import enforced_by
from refresh_runner.reuse.contents import Connections, Contents
from refresh_runner.reuse.decision import Decision, decide
from refresh_runner.reuse.environment import NotReusableError, environment_digest
from refresh_runner.reuse.results import Result


@dataclass(frozen=True)
class Scope:
    """The nodes about which a run decides, and by which rules."""

    programs: Sequence[str]
    """Versions of the runner and of dbt."""
    names: Sequence[str]
    """Those of all relations and tests of the project."""
    models: frozenset[Relation]
    """The tables that the project builds, in this run or not."""
    reuses_verdicts: bool = True
    forced: str = ""
    """Why the run builds everything; empty if it does not."""


@dataclass(frozen=True)
class _Prepared:
    stored: Mapping[str, Result]
    environment: str
    contents: Contents


class Evidence:
    """Used by several threads. Its methods raise UnknownError, NotReusableError or psycopg.Error for what cannot be known."""

    def __init__(
        self, connect: Callable[[], psycopg.Connection], scope: Scope, limit: Callable[[], timedelta], *, is_read_only: bool = False
    ) -> None:
        """`limit` is the maximum duration of a query. With `is_read_only`, the table of results is not created."""
        self.connections = Connections(connect)
        self.scope = scope
        self.limit = limit
        self._is_read_only = is_read_only
        self._unpublished: Collection[str] = ()
        self._preparing = threading.Lock()
        self._known: _Prepared | None = None

    @property
    def is_prepared(self) -> bool:
        """Whether anything has been read."""
        return self._known is not None

    def kept(self, unpublished: Collection[str]) -> None:
        """Take note of marts, by schema.name, that an earlier attempt of the run has built beside the live ones. Call it first."""
        self._unpublished = unpublished

    @property
    def stored(self) -> Mapping[str, Result]:
        """The earlier results: of relations by schema.name, of tests by ID."""
        return self._prepared().stored

    @property
    def contents(self) -> Contents:
        """What the relations of the warehouse contain."""
        return self._prepared().contents

    def recipe(self, candidate: Candidate) -> str:
        """Return a digest of all that the result of a node depends on, besides what it reads."""
        return sha256(f"{self._prepared().environment}\0{candidate.recipe}".encode()).hexdigest()

    def decide(
        self, candidate: Candidate, unpublished: Callable[[Sequence[str]], str], unchanged: Collection[str] = frozenset()
    ) -> Decision:
        """Decide whether a node's earlier result is reused.

        `unpublished` returns why tables that are read through views are not yet those that the run has built; empty if they are. The
        relations in `unchanged`, by schema.name, count as what they were.
        """
        is_test = candidate.kind is CandidateKind.TEST
        if forced := self.scope.forced or ("it has failed" if is_test and self._has_failed(candidate) else ""):
            return Decision(False, forced)
        name = name_of(candidate)
        stored = self.stored.get(name)
        content_of = self.contents.columns_of if candidate.kind is CandidateKind.VIEW else self.contents.of
        before = stored.inputs if stored else {}
        return decide(
            self.recipe(candidate),
            candidate.unfit or (unpublished(stored.through_views) if stored else ""),
            stored,
            lambda read: before[read] if read in unchanged else content_of(read),
            lambda stored: "" if is_test else self.contents.change_since(stored, name),
        )

    def enforced_by(self, candidate: Candidate) -> str:
        """Return the constraint that enforces what a test checks; empty if there is none, or if that is unknown."""
        if candidate.rule is None or candidate.unfit or self.scope.forced:
            return ""
        try:
            with self.connections.one() as connection:
                return enforced_by(connection, candidate.rule)
        except psycopg.Error:
            return ""

    def _has_failed(self, candidate: Candidate) -> bool:
        """Return whether a test has failed, so that it is run again: somebody may want to see that it still does."""
        with suppress(NotReusableError, psycopg.Error):
            stored = self.stored.get(candidate.id)
            return bool(candidate.is_strict and stored and stored.verdict and stored.verdict.should_error)
        return False

    def _prepared(self) -> _Prepared:
        """Return what decisions need, read before the first: after on-run-start, which may add functions or tables."""
        with self._preparing:
            if self._known is None:
                with self.connections.one() as connection:
                    stored = results.load(connection, self.scope.names, may_create=not self._is_read_only)
                    environment = environment_digest(connection, self.scope.programs)
                contents = Contents(self.connections, stored, self.scope.models, self.limit, self._unpublished)
                self._known = _Prepared(stored, environment, contents)
            return self._known


def name_of(candidate: Candidate) -> str:
    """Return the name of a node's result."""
    return candidate.id if candidate.kind is CandidateKind.TEST else str(candidate.relation)


def unknown(error: Exception) -> Decision:
    """Return the decision about a node for which something cannot be known."""
    return Decision(False, f"cannot tell whether it would change: {error}")


def verb(candidate: Candidate, *, is_reused: bool) -> str:
    """Return what a run does with a node, for a line about it."""
    return "reusing" if is_reused else "testing" if candidate.kind is CandidateKind.TEST else "building"
