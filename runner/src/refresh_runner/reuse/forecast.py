"""Forecasts for each node whether a run would reuse its earlier result, by the same decision as the run's, and builds nothing.

A run decides about a node once all nodes upstream have ended. Until then it is open whether these come out as they were. A node is certain
to be built if it is built even then, and certain to be reused if nothing upstream is built.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import psycopg

from refresh_runner.dbt.engine import Candidate, CandidateKind, Verdict
from refresh_runner.model.step_results import Node
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.table_state import UnknownError
from refresh_runner.reuse.environment import NotReusableError
from refresh_runner.reuse.evidence import Evidence, name_of, unknown, verb

_TESTS: Final = frozenset({"test", "unit_test"})
"""Kinds of nodes that are tested, not built."""


class Outlook(Enum):
    """What a run would do with a node."""

    REUSED = "reused"
    BUILT = "built"
    """Built or tested, whatever happens upstream."""
    OPEN = "open"
    """Built or tested only under a condition that the run itself decides."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Prospect:
    """The forecast for one node."""

    node: Node
    outlook: Outlook
    text: str
    """As in the log of the run: `building m_a: dwh_facts.f_a has changed`."""


class Forecast:
    """The forecasts for the nodes of one run. dbt's threads call it in place of what decides in a run."""

    def __init__(self, evidence: Evidence, parents: Mapping[str, Collection[str]], querying: Collection[str]) -> None:
        """`parents` are the IDs of what each node reads; `querying` the nodes that query the warehouse while they are compiled."""
        self._evidence = evidence
        self._parents = parents
        self._querying = querying
        self._changing: dict[str, str] = {}
        """Relations that may have other rows or columns after the run, by the ID of the node that builds them."""
        self._functions: list[str] = []
        """Functions that the run builds. SQL may mean something else afterwards."""
        self._prospects: dict[str, Prospect] = {}

    def is_reused(self, candidate: Candidate) -> bool:
        """Record the forecast for a model. Return True, so that dbt does not build it."""
        self._record(candidate)
        return True

    def verdict(self, candidate: Candidate) -> Verdict:
        """Record the forecast for a test. Return a verdict, so that dbt does not run it."""
        self._record(candidate)
        return Verdict(0, should_warn=False, should_error=False)

    def built(self, candidate: Candidate, _rows: int | None) -> None:
        """Raise AssertionError: nothing is built."""
        raise AssertionError(f"{candidate.name} was built")

    def tested(self, candidate: Candidate, _verdict: Verdict) -> None:
        """Raise AssertionError: nothing is tested."""
        raise AssertionError(f"{candidate.name} was tested")

    def always(self, node: Node, relation: Relation | None, why: str) -> None:
        """Record a node that every run builds or tests. Call it before dbt asks about what reads the node."""
        kind = node.id.partition(".")[0]
        if relation:
            self._changing[node.id] = str(relation)
        elif kind == "function":
            self._functions.append(f"the function {node.name}")
        self._prospects[node.id] = Prospect(node, Outlook.BUILT, f"{'testing' if kind in _TESTS else 'building'} {node.name}: {why}")

    def prospect(self, node: Node, otherwise: str) -> Prospect:
        """Return the forecast for a node. `otherwise` says why there is none."""
        return self._prospects.get(node.id) or Prospect(node, Outlook.UNKNOWN, f"cannot tell about {node.name}: {otherwise}")

    def _record(self, candidate: Candidate) -> None:
        try:
            outlook, text = self._outlook(candidate)
        except (UnknownError, NotReusableError, psycopg.Error) as error:
            outlook, text = Outlook.UNKNOWN, f"{verb(candidate, is_reused=False)} {candidate.name}: {unknown(error).reason}"
        if outlook is not Outlook.REUSED and candidate.relation:
            self._changing[candidate.id] = str(candidate.relation)
        self._prospects[candidate.id] = Prospect(Node(candidate.id, candidate.name), outlook, text)

    def _outlook(self, candidate: Candidate) -> tuple[Outlook, str]:
        changing = self._changing_inputs(candidate)
        begin = f"{verb(candidate, is_reused=False)} {candidate.name}"
        if candidate.kind is CandidateKind.TEST:
            if not self._evidence.scope.reuses_verdicts:
                return Outlook.BUILT, f"{begin}: tests.reuse is Never"
            if by := self._evidence.enforced_by(candidate):
                held = f"PostgreSQL enforces it: {by}"
                if not changing:
                    return Outlook.REUSED, f"not running {candidate.name}: {held}"
                return Outlook.OPEN, f"{begin} unless {held}, on the table that the run builds"
        decision = self._evidence.decide(candidate, _all_published, frozenset(changing))
        if not decision.is_reused and not (changing and candidate.id in self._querying):
            return Outlook.BUILT, f"{begin}: {decision.reason}"
        if changing:
            return Outlook.OPEN, f"{begin} if {' or '.join(changing)} changes"
        return Outlook.REUSED, f"{verb(candidate, is_reused=True)} {candidate.name}: {decision.reason}"

    def _changing_inputs(self, candidate: Candidate) -> Sequence[str]:
        """Return the relations that a node reads and that may be others after the run."""
        stored = self._evidence.stored.get(name_of(candidate))
        read = stored.inputs if stored else {}
        parents = self._parents.get(candidate.id, ())
        found = {relation for id_, relation in list(self._changing.items()) if id_ in parents or relation in read}
        return [*sorted(found), *self._functions]


def _all_published(_through_views: Sequence[str]) -> str:
    """Return that no table is read before it is published: what the run would stage counts as changing."""
    return ""
