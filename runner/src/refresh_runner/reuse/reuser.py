"""Decides for each node of a run whether its earlier result is reused, and records the results of those that are built."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Final

import psycopg

from refresh_runner.dbt.engine import Candidate, CandidateKind, Verdict
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.table_state import UnknownError
from refresh_runner.reuse import results
from refresh_runner.reuse.constraints import enforced_by
from refresh_runner.reuse.contents import Connections, Contents
from refresh_runner.reuse.decision import Decision, decide
from refresh_runner.reuse.environment import NotReusableError, environment_digest
from refresh_runner.reuse.results import Result, TestVerdict
from refresh_runner.reuse.statements import examine

log = logging.getLogger(__name__)

_EXAMINE_LIMIT: Final = timedelta(seconds=10)
OnReused = Callable[[Candidate], None]
"""Called with a model that is reused, on a thread of dbt, before anything refers to it."""


@dataclass(frozen=True)
class _Prepared:
    stored: Mapping[str, Result]
    environment: str
    contents: Contents


class Reuser:
    """The decisions and results of one run. dbt's threads call it."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        programs: Sequence[str],
        names: Sequence[str],
        models: frozenset[Relation],
        run_id: str,
        limit: Callable[[], timedelta],
        on_reused: OnReused,
        reuses_verdicts: bool = True,
        forced: str = "",
    ) -> None:
        """`names` are those of all relations and tests of the project, `models` the tables that it builds.

        `forced` says why the run builds everything; empty if it does not.
        """
        self._connections = Connections(connect)
        self._programs = programs
        self._names = names
        self._models = models
        self._run_id = run_id
        self._limit = limit
        self._on_reused = on_reused
        self._reuses_verdicts = reuses_verdicts
        self._forced = forced
        self._preparing = threading.Lock()
        self._known: _Prepared | None = None
        self._drafts: dict[str, Result] = {}
        self._staged: dict[str, Result] = {}
        """Results of marts that are not yet live, by live name."""
        self._tested: dict[str, Result] = {}
        self._ids: dict[str, str] = {}
        self.reused: dict[str, str] = {}
        """Why nodes are reused, by ID."""

    def _prepared(self) -> _Prepared:
        """Return what later decisions need, read before the first: after on-run-start, which may add functions or tables."""
        with self._preparing:
            if self._known is None:
                with self._connections.one() as connection:
                    stored = results.load(connection, self._names)
                    environment = environment_digest(connection, self._programs)
                self._known = _Prepared(stored, environment, Contents(self._connections, stored, self._models, self._limit))
            return self._known

    @property
    def _stored(self) -> Mapping[str, Result]:
        return self._prepared().stored

    @property
    def _contents(self) -> Contents:
        return self._prepared().contents

    def is_reused(self, candidate: Candidate) -> bool:
        """Return whether a model need not be built."""
        decision = self._decide(candidate)
        if decision.is_reused:
            self._contents.now[str(candidate.relation)] = self._stored[str(candidate.relation)]
            self._on_reused(candidate)
        return decision.is_reused

    def verdict(self, candidate: Candidate) -> Verdict | None:
        """Return the earlier verdict of a test; None if it must run."""
        if not self._reuses_verdicts:
            return None
        if by := self._enforced_by(candidate):
            self.reused[candidate.id] = f"PostgreSQL enforces it: {by}"
            log.info("not running %s: %s", candidate.name, self.reused[candidate.id])
            return Verdict(0, should_warn=False, should_error=False)
        if not self._decide(candidate, is_known_to_fail=self._has_failed(candidate)).is_reused:
            return None
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
                return
            result = made.model_copy(
                update={"run_id": self._run_id, **draft.model_dump(include={"recipe", "unsafe", "inputs", "through_views"})}
            )
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

    def finish(self) -> None:
        """Store the results for later runs, as far as they are certain now that nothing more is built or published."""
        try:
            if self._known:
                self._settle_marts()
                self._drop_uncertain()
                changed = {name: result for name, result in self._contents.now.items() if result != self._stored.get(name)} | self._tested
                used = [name for name in (*self._contents.now, *self.reused) if name not in changed]
                with self._connections.one() as connection:
                    results.save(connection, changed, self._ids, used, self._run_id)
        except (UnknownError, psycopg.Error) as error:
            log.warning("cannot store what was built for later runs: %s", error)
        finally:
            self._connections.close()

    def _enforced_by(self, candidate: Candidate) -> str:
        """Return the constraint that enforces what a test checks; empty if there is none."""
        if candidate.rule is None or candidate.unfit or self._forced:
            return ""
        try:
            with self._connections.one() as connection:
                return enforced_by(connection, candidate.rule)
        except psycopg.Error:
            return ""

    def _has_failed(self, candidate: Candidate) -> bool:
        """Return whether a test has failed, so that it is run again: somebody may want to see that it still does."""
        with suppress(NotReusableError, psycopg.Error):
            stored = self._stored.get(candidate.id)
            return bool(candidate.is_strict and stored and stored.verdict and stored.verdict.should_error)
        return False

    def _decide(self, candidate: Candidate, *, is_known_to_fail: bool = False) -> Decision:
        forced = self._forced or ("it has failed" if is_known_to_fail else "")
        try:
            decision = Decision(False, forced) if forced else self._decision(candidate)
            if not decision.is_reused and not candidate.unfit:
                self._drafts[candidate.id] = self._draft(candidate)
        except (UnknownError, NotReusableError, psycopg.Error) as error:
            decision = Decision(False, f"cannot tell whether it would change: {error}")
        if decision.is_reused:
            self.reused[candidate.id] = decision.reason
        verb = "reusing" if decision.is_reused else "testing" if candidate.kind is CandidateKind.TEST else "building"
        log.info("%s %s: %s", verb, candidate.name, decision.reason)
        return decision

    def _decision(self, candidate: Candidate) -> Decision:
        name = candidate.id if candidate.kind is CandidateKind.TEST else str(candidate.relation)
        stored = self._stored.get(name)
        return decide(
            self._recipe(candidate),
            candidate.unfit or (self._unpublished(stored.through_views) if stored else ""),
            stored,
            self._contents.columns_of if candidate.kind is CandidateKind.VIEW else self._contents.of,
            lambda stored: "" if candidate.kind is CandidateKind.TEST else self._contents.change_since(stored, name),
        )

    def _recipe(self, candidate: Candidate) -> str:
        return sha256(f"{self._prepared().environment}\0{candidate.recipe}".encode()).hexdigest()

    def _draft(self, candidate: Candidate) -> Result:
        """Return the result of a node that is about to be built, without its rows. What it reads is observed before it is read."""
        recipe = self._recipe(candidate)
        if candidate.kind is CandidateKind.SEED:
            return Result(recipe=recipe)
        with self._connections.one() as connection:
            found = examine(connection, candidate.statement, min(_EXAMINE_LIMIT, self._limit()))
        live = {place: str(relation) for place, relation in candidate.places.items()}
        if others := sorted(str(each) for each in found.direct if each not in candidate.reads and each not in live):
            return Result(recipe=recipe, unsafe=f"it reads {others[0]} without ref or source")
        if candidate.kind is CandidateKind.VIEW:
            # Its definition is the result, so what its query computes does not matter.
            names = [live.get(each, str(each)) for each in found.direct]
            unsafe = f"it {found.unsafe_definition}" if found.unsafe_definition else ""
            return Result(recipe=recipe, unsafe=unsafe, inputs={name: self._contents.columns_of(name) for name in names})
        inputs = {name: self._contents.of(name) for name in (live.get(each, str(each)) for each in found.tables | found.views)}
        through_views = sorted(str(each) for each in found.tables - found.direct)
        unsafe = f"it {found.unsafe}" if found.unsafe else self._unpublished(through_views)
        if unknown := next((name for name, content in inputs.items() if not content), None):
            unsafe = unsafe or self._contents.unknown.get(unknown, f"{unknown} cannot be observed")
        return Result(recipe=recipe, unsafe=unsafe, inputs=inputs, through_views=through_views)

    def _unpublished(self, through_views: Sequence[str]) -> str:
        """Return why a node that reads these tables through views reads other rows than those that the run has built for them."""
        found = next((name for name in through_views if name in self._staged), None)
        return f"it reads {found} through a view, before what the run has built is published" if found else ""

    def _measured(self, candidate: Candidate, rows: int | None) -> Result | None:
        place = candidate.built_as or candidate.relation
        return self._contents.measure(place, rows, is_staged=place != candidate.relation) if place else None

    def _forget(self, name: str) -> None:
        """Record that a relation was built in a way that proves nothing, except that its rows may be the same as before."""
        self._contents.observe_built(name)
        if name in self._contents.now:
            self._contents.now[name] = self._contents.now[name].model_copy(update={"recipe": "", "inputs": {}})

    def _settle_marts(self) -> None:
        for name, built in self._staged.items():
            live = self._contents.published(built, name)
            if live:
                self._contents.now[name] = live
            else:
                self._contents.now.pop(name)

    def _drop_uncertain(self) -> None:
        """Drop results of what has read a model to which others have written in the meantime."""
        contents = self._contents
        read = {name for own in self._ids for name in self._result_of(own).inputs}
        changed = {name for name in read - self._staged.keys() if name in contents.now and contents.changed_since_observed(name)}
        for own in self._ids:
            if by := sorted(changed & self._result_of(own).inputs.keys()):
                log.info("%s will be built by the next run: others have written to %s", own, by[0])
                for known in (contents.now, self._tested):
                    if own in known:
                        known[own] = known[own].model_copy(update={"recipe": ""})

    def _result_of(self, name: str) -> Result:
        return self._tested.get(name) or self._contents.now.get(name) or Result()
