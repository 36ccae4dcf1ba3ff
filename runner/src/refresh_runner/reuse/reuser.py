"""Decides for each node of a run whether its earlier result is reused, and records the results of those that are built."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import psycopg

from refresh_runner.dbt.engine import Candidate, CandidateKind, Verdict
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.data_version import Snapshot
from refresh_runner.postgres.digests import digest
from refresh_runner.postgres.table_state import UnknownError, identify, snapshot
from refresh_runner.reuse import results
from refresh_runner.reuse.contents import Contents, attributes
from refresh_runner.reuse.decision import Decision
from refresh_runner.reuse.environment import NotReusableError, environment_digest
from refresh_runner.reuse.evidence import Evidence, name_of, unknown, verb
from refresh_runner.reuse.results import Result, TestVerdict
from refresh_runner.reuse.statements import examine

log = logging.getLogger(__name__)

_OF_DRAFT: Final = {"recipe", "unsafe", "examined", "shape", "inputs", "through_views"}
"""The fields of a result that are known before it is built."""
_EXAMINE_LIMIT: Final = timedelta(seconds=10)
OnReused = Callable[[Candidate], None]
"""Called with a model that is reused, on a thread of dbt, before anything refers to it."""


class Reuser:
    """The decisions and results of one run. dbt's threads call it."""

    def __init__(self, evidence: Evidence, run_id: str, on_reused: OnReused) -> None:
        self._evidence = evidence
        self._connections = evidence.connections
        self._run_id = run_id
        self._on_reused = on_reused
        self._drafts: dict[str, Result] = {}
        self._before: dict[str, Result | None] = {}
        """What the tables that dbt changes in part contained before, by the ID of the model."""
        self._staged: dict[str, Result] = {}
        """Results of marts that are not yet live, by live name."""
        self._tested: dict[str, Result] = {}
        self._ids: dict[str, str] = {}
        self._proven: set[str] = set()
        """IDs of the nodes whose results depend on nothing that is not compared."""
        self.reused: dict[str, str] = {}
        """Why nodes are reused, by ID."""
        self.unchanged: set[str] = set()
        """IDs of the models that were built with the same rows, or as the same view, as their earlier results."""

    @property
    def _stored(self) -> Mapping[str, Result]:
        return self._evidence.stored

    @property
    def _contents(self) -> Contents:
        return self._evidence.contents

    def kept(self, unpublished: Collection[str]) -> None:
        """Take note of marts, by schema.name, that an earlier attempt of the run has built beside the live ones. Call it first."""
        self._evidence.kept(unpublished)

    def is_reused(self, candidate: Candidate) -> bool:
        """Return whether a model need not be built."""
        decision = self._decide(candidate)
        if decision.is_reused:
            self._contents.now[str(candidate.relation)] = self._stored[str(candidate.relation)]
            self._proven.add(candidate.id)
            self._on_reused(candidate)
        return decision.is_reused

    def verdict(self, candidate: Candidate) -> Verdict | None:
        """Return the earlier verdict of a test; None if it must run."""
        if not self._evidence.scope.reuses_verdicts:
            return None
        if by := self._evidence.enforced_by(candidate):
            self.reused[candidate.id] = f"PostgreSQL enforces it: {by}"
            self._proven.add(candidate.id)
            log.info("not running %s: %s", candidate.name, self.reused[candidate.id])
            return Verdict(0, should_warn=False, should_error=False)
        if not self._decide(candidate).is_reused:
            return None
        self._proven.add(candidate.id)
        known = self._stored[candidate.id].verdict
        return Verdict(known.failures, known.should_warn, known.should_error) if known else None

    def built(self, candidate: Candidate, rows: int | None) -> None:
        """Record what a model contains now."""
        name = str(candidate.relation)
        self._ids[name] = candidate.id
        try:
            draft = self._drafts.pop(candidate.id, None)
            made = self._measured(candidate, rows) if draft else None
            if draft is None or made is None or candidate.relation is None:
                self._forget(name)
                self._note_unchanged(candidate, self._contents.now.get(name))
                return
            self._note_unchanged(candidate, made)
            result = made.model_copy(
                update={"run_id": self._run_id, **draft.model_dump(include=_OF_DRAFT)},
            )
            if not result.unsafe:
                self._proven.add(candidate.id)
        except (UnknownError, psycopg.Error) as error:
            log.info("cannot record what %s contains: %s", candidate.name, error)
            return
        if candidate.built_as != candidate.relation:
            self._staged[name] = result
        self._contents.now[name] = result

    def tested(self, candidate: Candidate, verdict: Verdict) -> None:
        """Record what a test has found."""
        if draft := self._drafts.pop(candidate.id, None):
            found = TestVerdict(failures=verdict.failures, should_warn=verdict.should_warn, should_error=verdict.should_error)
            self._tested[candidate.id] = draft.model_copy(update={"run_id": self._run_id, "verdict": found})
            self._ids[candidate.id] = candidate.id
            if not draft.unsafe:
                self._proven.add(candidate.id)

    def is_proven(self, nodes: Collection[str]) -> bool:
        """Return whether the results of all these nodes, by ID, depend on nothing that later runs do not compare."""
        return self._proven.issuperset(nodes)

    def observed(self, relations: Collection[Relation]) -> Snapshot:
        """Return what relations contained when the run built, reused or read them. What others have changed since differs from it."""
        names = {str(relation) for relation in relations}
        known = {name: result for name, result in self._contents.now.items() if name in names} if self._evidence.is_prepared else {}
        return Snapshot(
            tables={name: result.state for name, result in known.items() if result.state},
            digests={name: result.content for name, result in known.items() if not result.state},
        )

    def surroundings(self, connection: psycopg.Connection, outputs: Collection[Relation]) -> str:
        """Return a digest of the server, and of the indexes, constraints, privileges and comments of relations.

        Raise NotReusableError, UnknownError or psycopg.Error if they are unknown.
        """
        environment = environment_digest(connection, self._evidence.scope.programs)
        with snapshot(connection, self._evidence.limit()):
            own = [(str(relation), attributes(connection, identify(connection, relation))) for relation in sorted(outputs)]
        return digest(repr((environment, own)))

    def finish(self) -> None:
        """Store the results for later runs, as far as they are certain now that nothing more is built or published."""
        try:
            if self._evidence.is_prepared:
                self._drop_uncertain(self._settle_marts())
                changed = {name: result for name, result in self._contents.now.items() if result != self._stored.get(name)} | self._tested
                used = [name for name in (*self._contents.now, *self.reused) if name not in changed]
                with self._connections.one() as connection:
                    results.save(connection, changed, self._ids, used, self._run_id)
        except (UnknownError, psycopg.Error) as error:
            self._proven.clear()
            log.warning("cannot store what was built for later runs: %s", error)
        finally:
            self._connections.close()

    def _decide(self, candidate: Candidate) -> Decision:
        try:
            decision = self._evidence.decide(candidate, self._unpublished)
            if not decision.is_reused and not candidate.unfit:
                self._drafts[candidate.id] = self._draft(candidate)
        except (UnknownError, NotReusableError, psycopg.Error) as error:
            decision = unknown(error)
        if decision.is_reused:
            self.reused[candidate.id] = decision.reason
        log.info("%s %s: %s", verb(candidate, is_reused=decision.is_reused), candidate.name, decision.reason)
        return decision

    def _draft(self, candidate: Candidate) -> Result:
        """Return the result of a node that is about to be built, without its rows. What it reads is observed before it is read."""
        recipe = self._evidence.recipe(candidate)
        if candidate.kind is CandidateKind.SEED:
            return Result(recipe=recipe)
        if candidate.kind is CandidateKind.OTHER and candidate.built_as:
            self._before[candidate.id] = self._contents.before_update(candidate.built_as, str(candidate.relation))
        known = self._stored.get(name_of(candidate))
        inputs, shape = self._observed_inputs(candidate, known.inputs) if known and known.recipe == recipe else ({}, "")
        if known is None or not shape or shape != known.shape:
            known = self._examined(candidate)
            inputs, shape = self._observed_inputs(candidate, known.inputs)
        unsafe = known.examined or self._unpublished(known.through_views)
        if unknown := next((name for name, content in inputs.items() if not content), None):
            unsafe = unsafe or self._contents.unknown.get(unknown, f"{unknown} cannot be observed")
        return Result(recipe=recipe, unsafe=unsafe, examined=known.examined, shape=shape, inputs=inputs, through_views=known.through_views)

    def _observed_inputs(self, candidate: Candidate, names: Collection[str]) -> tuple[dict[str, str], str]:
        """Return what a node's inputs contain, and what the examination of its statement depends on, besides the statement and the server.

        The latter is a digest, empty if it is unknown.
        """
        if candidate.kind is CandidateKind.VIEW:
            columns = {name: self._contents.columns_of(name) for name in names}
            return columns, digest(repr(sorted(columns.items())))
        return {name: self._contents.of(name) for name in names}, self._contents.shape_of(names)

    def _examined(self, candidate: Candidate) -> Result:
        """Return what a statement reads, as inputs without contents, and what makes it unsafe."""
        with self._connections.one() as connection:
            found = examine(connection, candidate.statement, min(_EXAMINE_LIMIT, self._evidence.limit()))
        own = {place for place in (candidate.relation, candidate.built_as) if place and candidate.kind is CandidateKind.OTHER}
        live = {place: str(relation) for place, relation in candidate.places.items()}
        if others := sorted(str(each) for each in found.direct - own if each not in candidate.reads and each not in live):
            return Result(examined=f"it reads {others[0]} without ref or source")
        if candidate.kind is CandidateKind.VIEW:
            # Its definition is the result, so what its query computes does not matter.
            unsafe, read, through_views = found.unsafe_definition, found.direct, []
        else:
            unsafe, read = found.unsafe, (found.tables | found.views) - own
            through_views = sorted(str(each) for each in found.tables - found.direct - own)
        names = [live.get(each, str(each)) for each in read]
        return Result(examined=f"it {unsafe}" if unsafe else "", inputs=dict.fromkeys(names, ""), through_views=through_views)

    def _unpublished(self, through_views: Sequence[str]) -> str:
        """Return why a node that reads these tables through views reads other rows than those that the run has built for them."""
        found = next((name for name in through_views if name in self._staged), None)
        return f"it reads {found} through a view, before what the run has built is published" if found else ""

    def _measured(self, candidate: Candidate, rows: int | None) -> Result | None:
        place = candidate.built_as or candidate.relation
        if place is None:
            return None
        if candidate.kind is CandidateKind.OTHER:
            return self._contents.measure_updated(place, str(candidate.relation), self._before.pop(candidate.id, None), rows)
        return self._contents.measure(place, rows, is_staged=place != candidate.relation)

    def _note_unchanged(self, candidate: Candidate, made: Result | None) -> None:
        before = self._stored.get(str(candidate.relation))
        if made and before and made.content and made.content == before.content:
            self.unchanged.add(candidate.id)

    def _forget(self, name: str) -> None:
        """Record that a relation was built in a way that proves nothing, except that its rows may be the same as before."""
        self._contents.observe_built(name)
        if name in self._contents.now:
            self._contents.now[name] = self._contents.now[name].model_copy(update={"recipe": "", "inputs": {}})

    def _settle_marts(self) -> set[str]:
        """Record what of the staged marts is live. Return those of which others may have changed what was staged or live."""
        unsettled = set()
        for name, built in self._staged.items():
            live = None
            with suppress(UnknownError):
                live = self._contents.published(built, name)
            if live:
                self._contents.now[name] = live
            else:
                unsettled.add(name)
                self._contents.now.pop(name)
                self._proven.discard(self._ids[name])
        return unsettled

    def _drop_uncertain(self, changed: set[str]) -> None:
        """Drop results of what has read a table that is `changed`, or to which others have written in the meantime."""
        contents = self._contents
        read = {name for own in self._ids for name in self._result_of(own).inputs}
        changed = changed | {name for name in read - self._staged.keys() if name in contents.now and contents.changed_since_observed(name)}
        for own in self._ids:
            if by := sorted(changed & self._result_of(own).inputs.keys()):
                log.info("%s will be built by the next run: others have written to %s", own, by[0])
                self._proven.discard(self._ids[own])
                for known in (contents.now, self._tested):
                    if own in known:
                        known[own] = known[own].model_copy(update={"unsafe": f"{by[0]} was written to while a run read it"})

    def _result_of(self, name: str) -> Result:
        return self._tested.get(name) or self._contents.now.get(name) or Result()
