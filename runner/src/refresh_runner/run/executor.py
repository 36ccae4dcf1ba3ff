"""Carrying out a plan: the warehouse's lock, what must be true before the first step, then the steps in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import psycopg

from refresh_api.status import EndpointStatus, MartStatus, StepState, Verdict
from refresh_api.values import duration_text
from refresh_runner.core.backoff import pause
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.core.secrets import Redactor, header_problem
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import (
    CommandError,
    CommandResult,
    Node,
    NodeResult,
    NodeState,
    StepResult,
    conclude_cache,
    conclude_layer,
    conclude_sources,
    conclude_tests,
    conclude_validation,
    nodes_to_retry,
    skipped,
    with_command_error,
)
from refresh_runner.model.steps import CacheStep, LayerStep, SourcesStep, Step, TestsStep, ValidationStep
from refresh_runner.postgres import advisory_lock
from refresh_runner.postgres.blocking import HELD_BY, Watch
from refresh_runner.postgres.connection import Warehouse
from refresh_runner.postgres.data_version import Inputs, inputs_of
from refresh_runner.postgres.replay_lag import Lag, Replay
from refresh_runner.postgres.snapshot_holder import HeldSnapshot
from refresh_runner.publish.publisher import Marts
from refresh_runner.publish.transaction import Terms
from refresh_runner.report.progress import RunProgress
from refresh_runner.run import cache_warmup, dependencies, required_privileges, schedule_guard
from refresh_runner.run.cancellation import CancellationScope, CancelledError, Cause
from refresh_runner.run.change_detection import UnknownError, observe_inputs, observe_outputs
from refresh_runner.run.preflight import Preflight, ResolvedPlan
from refresh_runner.run.project_hooks import ProjectHooks
from refresh_runner.runlog import legacy_log
from refresh_runner.runlog.artifacts import Artifact
from refresh_runner.runlog.resume import ResumeState
from refresh_runner.runlog.writer import RunLogWriter
from refresh_runner.validation import counting
from refresh_runner.validation.checks import mart_status
from refresh_runner.validation.samples import MAX_LENGTH, Rows, SampleOptions, describe_error, sample

log = logging.getLogger(__name__)

_GRACE: Final = timedelta(seconds=3)
"""PostgreSQL's own time-out, or that of publishing, comes first by this, since its error says what took too long."""
_LOOK: Final = timedelta(seconds=30)
"""For the rows that tests found: the tests are over, and the run does not wait long for what only helps people."""
_LAG: Final = timedelta(minutes=2)
"""How much longer than their time-out endpoints have, in all, while a standby has not replayed what is live."""
_TIMED_OUT: Final = "57014"
_LOCKED: Final = "55P03"

_SILENCE: Final = 10.0
"""Seconds at an attempt's end in which PostgreSQL can answer; then the run ends without it, since a pod has thirty."""

Execute = Callable[[Sequence[Node], timedelta], CommandResult]


@dataclass(frozen=True)
class Services:
    """The doors, and what else a run needs from outside."""

    dbt: Dbt
    warehouse: Warehouse
    run_log: RunLogWriter
    clock: Clock
    cancellation: CancellationScope
    jitter: Callable[[], float]
    """A number around 1, another one each time."""
    secrets: Mapping[str, Mapping[str, str]]
    """The Secrets that the run request names, by name and key, as far as they are there."""
    redact: Redactor
    """Takes what is secret out of a text."""
    artifacts: Callable[[], Iterable[Artifact]] = tuple
    """Makes the files that the run leaves, at its end."""


class Execution:
    """One attempt under way; `step` is the one that it is at, and `has_begun` says whether it has held the warehouse."""

    def __init__(self, plan: Plan, services: Services, progress: RunProgress) -> None:
        self.step: str | None = None
        self.has_begun = False
        self.unchanged: str | None = None
        """Why nothing needs to be done, empty if something does; None until that was asked."""
        self._plan = plan
        self._services = services
        self._progress = progress
        self._resolved = ResolvedPlan()
        self._marts: Marts | None = None
        self._watch = Watch(services.warehouse, progress.step_blocked)
        self._hooks = ProjectHooks(plan, services.dbt, services.run_log)
        self._snapshot = HeldSnapshot(services.warehouse, plan.vacuum)

    @property
    def hook(self) -> str | None:
        """The kind of the project's hooks that is under way, where they are."""
        return self._hooks.running

    @property
    def waits_for(self) -> str:
        """What the step under way waits for in the warehouse, and whose that is; empty if nobody is in its way."""
        return self._watch.now

    def time_left(self) -> timedelta:
        """Return what is left of the attempt's time."""
        return max(self._plan.timeout - timedelta(seconds=self._services.clock.elapsed()), timedelta(0))

    def carry_out(self, enable_status: Callable[[], None]) -> None:
        """Do every step that can be done; RunFailedError and StoppedError end the attempt before."""
        services = self._services
        schedule_guard.check(self._plan.run_request, self._plan.attempt.run_id)
        connection = services.warehouse.connect()
        services.warehouse.check_writable()

        def waiting(message: str, alone: bool) -> None:
            if alone:
                enable_status()
            self._progress.waiting_for_lock(message)

        advisory_lock.acquire(
            services.warehouse,
            self._plan.run_request.refresh,
            services.clock,
            waiting,
            on_held=self._plan.lock.on_held,
            wait=self._plan.lock.wait,
        )
        self.has_begun = True
        enable_status()
        self._progress.lock_acquired()
        with advisory_lock.kept(connection, lambda: services.cancellation.cancel(Cause.LOCK_LOST)), self._watch:
            threading.Thread(target=self._give_up, name="give-up", daemon=True).start()
            services.warehouse.end_own_sessions()
            self._snapshot.take()
            services.dbt.session_settings = services.warehouse.session_settings
            preflight = Preflight(self._plan, services.dbt, services.warehouse)
            preflight.check_privileges(required_privileges.of_tables(connection))
            legacy_log.prepare(services.warehouse)
            earlier = services.run_log.begin()
            dependencies.check(self._plan.run_request, self._plan.attempt.run_id, services.warehouse)
            services.dbt.on_done = services.run_log.node_succeeded
            self._marts = Marts(self._plan, connection)
            self._marts.begin()
            self._resolved = preflight.check(self._marts, earlier)
            self._plan = self._resolved.plan or self._plan
            try:
                self._take_all(earlier, self._marts)
            except RunFailedError:
                self._end_hooks(failed=True)
                raise
            self._end_hooks()
            self._note_made(self._marts)

    def _take_all(self, earlier: ResumeState, marts: Marts) -> None:
        for step in self._plan.steps:
            # Not before the sources were asked how old they are: those that nobody loads any more don't change either.
            if self.unchanged is None and not isinstance(step, SourcesStep):
                self.unchanged = self._unchanged(earlier, marts)
            self._take(step, marts)

    def _begin_hooks(self) -> None:
        """Have on-run-start run, before the first node is built or tested."""
        steps = [step for step in self._plan.steps if isinstance(step, LayerStep | TestsStep)]
        nodes = [node for step in steps for node in self._resolved.nodes.get(step.name, ())]
        self._hooks.begin(nodes, self._time_for_hooks())

    def _end_hooks(self, *, failed: bool = False) -> None:
        """Have on-run-end run, once all that the run builds is live, or will not be."""
        self._hooks.end(self._progress.results, self._resolved.reusable, self._time_for_hooks(), failed=failed)

    def _time_for_hooks(self) -> timedelta:
        return max(self.time_left() - _GRACE, _GRACE)

    def _unchanged(self, earlier: ResumeState, marts: Marts) -> str:
        """Say since when the run has nothing to do; empty if it has, or if that can't be shown. What it reads is kept for later runs."""
        if not self._plan.policy.records_inputs:
            return ""
        run_log, wanted, limit = self._services.run_log, self._resolved.tracked, self.time_left() / 4
        last = run_log.previous_run()
        before = inputs_of(last.inputs) if last and last.is_comparable else None
        try:
            # Not on the connection that holds the warehouse: others may want the tables that are looked at.
            with closing(self._services.warehouse.another("look")) as connection:
                read, change = observe_inputs(connection, wanted, limit, before.read if before else None)
                if not earlier.is_resumed:
                    run_log.record_inputs(Inputs(read=read))
                if not self._plan.policy.may_skip_unchanged:
                    change = "somebody asked for this run"
                elif earlier.nodes or earlier.restart_reason:
                    change = "an earlier attempt of this run has begun"
                if before and last and not change:
                    made, change = observe_outputs(connection, wanted, limit, before.made)
                    if not change and marts.live_version() == before.version:
                        run_log.record_outputs(made, before.version)
                        return f"nothing has changed since {last.run_id}"
        except (UnknownError, psycopg.Error) as error:
            log.info("whether anything has changed can't be shown: %s", error)
            return ""
        log.info("not left as it is: %s", change or "other data are live than it had published")
        return ""

    def _note_made(self, marts: Marts) -> None:
        """Keep what the run has made, so that later ones can tell whether it is still there."""
        if not self._plan.policy.records_inputs or self.unchanged or any(result.failure for result in self._progress.results.values()):
            return
        try:
            with closing(self._services.warehouse.another("look")) as connection:
                made, _ = observe_outputs(connection, self._resolved.tracked, self.time_left() / 4)
            self._services.run_log.record_outputs(made, marts.live_version())
        except (UnknownError, psycopg.Error) as error:
            log.info("what was made can't be kept for later runs: %s", error)

    def _give_up(self) -> None:
        """Wait no longer for PostgreSQL than some seconds after the attempt began to end, whoever still does then."""
        self._services.cancellation.ending.wait()
        self._services.clock.sleep(_SILENCE)
        self._services.dbt.hang_up()
        self._services.warehouse.give_up()

    def clean_up(self) -> None:
        """End what dbt left running in the warehouse, if it can be reached."""
        with suppress(RunFailedError):
            self._services.warehouse.end_own_sessions()

    def release(self) -> None:
        """Nothing is kept for readers any more: the attempt writes nothing after this."""
        self._snapshot.release()

    def discard(self) -> None:
        """Remove the marts that were built and not published, if the warehouse is still ours."""
        if self._marts:
            with suppress(psycopg.Error):
                self._marts.discard()

    def _take(self, step: Step, marts: Marts) -> None:
        if why := self.unchanged or self._resolved.skipped.get(step.name):
            self._progress.step_ended(step.name, skipped(why))
            return
        if blocker := self._blocker(step):
            self._progress.step_ended(step.name, skipped(f"not started: {self._plan.label(blocker)} failed"))
            return
        if isinstance(step, LayerStep | TestsStep):
            self._begin_hooks()
        elif isinstance(step, CacheStep):
            self._end_hooks()
        self.step = step.name
        self._watch.step_begins()
        with ExitStack() as telling:
            result = self._result(step, marts, telling)
            self._progress.step_ended(step.name, result)
            self.step = None
        if isinstance(step, TestsStep) and step.sample_rows and result.tests_with_rows:
            self._look_at_rows(step, result.tests_with_rows)
        if isinstance(step, ValidationStep):
            marts.tidy()

    def _blocker(self, step: Step) -> str | None:
        """Return the failed step that keeps this one from starting; failed tests leave the marts there to be validated."""
        ignored = "tests" if isinstance(step, ValidationStep) else None
        return next((name for name, result in self._progress.results.items() if result.failure and name != ignored), None)

    def _result(self, step: Step, marts: Marts, telling: ExitStack) -> StepResult:
        """Do a step. Once marts are about to be live, stops are held off until `telling` ends: what is live must be known and told."""
        label = self._plan.label(step.name)
        match step:
            case SourcesStep():
                self._progress.step_started(step.name, 1)
                asked = self._try(step, self._resolved.nodes[step.name], self._services.dbt.ages)
                return with_command_error(conclude_sources(step, asked.nodes, label), asked.error, label)
            case LayerStep():
                built = self._tried(step, self._services.dbt.run)
                return with_command_error(conclude_layer(built.nodes, label), built.error, label)
            case TestsStep():
                tested = self._tried(step, self._services.dbt.test)
                return with_command_error(conclude_tests(step, tested.nodes, label), tested.error, label)
            case ValidationStep():
                self._progress.step_started(step.name, 1)
                try:
                    return self._validated(step, marts, telling)
                except RunFailedError as error:
                    raise RunFailedError(self._blamed(error.failure), error.step) from error
            case CacheStep():
                self._progress.step_started(step.name, 1)
                return self._warmed(step, marts)

    def _warmed(self, step: CacheStep, marts: Marts) -> StepResult:
        """Call the endpoints, those of the marts' exposures too."""
        exposed = [endpoint for endpoints in self._resolved.exposure_endpoints.values() for endpoint in endpoints]
        step = replace(step, endpoints=tuple(dict.fromkeys([*step.endpoints, *exposed])))
        replay = Replay(self._services.warehouse, self._services.clock, marts.position)
        lag = replay.wait(min(step.wait_for_replicas, self.time_left())) if step.wait_for_replicas else Lag()
        answers = list(cache_warmup.warm(step, self._call(step, marts, replay)))
        bare = [str(relation) for relation, endpoints in self._resolved.exposure_endpoints.items() if not endpoints]
        answers += [EndpointStatus(path=name, state=StepState.WARNED, message="no exposure states an endpoint") for name in bare]
        return conclude_cache(answers, lag.text)

    def _call(self, step: CacheStep, marts: Marts, replay: Replay) -> cache_warmup.WarmupContext:
        clock = self._services.clock
        lag_ends = clock.elapsed() + max(_LAG, step.wait_for_replicas or _LAG).total_seconds()
        call = cache_warmup.WarmupContext(
            clock.elapsed, clock.sleep, self._plan.timeout.total_seconds(), lag=replay.lag, lag_deadline=lag_ends
        )
        call = replace(call, refresh=self._plan.run_request.refresh.name)
        if step.version:
            call = replace(call, version=marts.live_version())
        if step.authorization is None:
            return call
        name, key = step.authorization.name, step.authorization.key
        authorization = self._services.secrets.get(name, {}).get(key)
        if not authorization:
            return replace(call, problem=f"the Secret {name!r} has no key {key!r}")
        if problem := header_problem(authorization):
            return replace(call, problem=f"the key {key!r} of the Secret {name!r} {problem}")
        return replace(call, authorization=authorization)

    def _tried(self, step: LayerStep | TestsStep, execute: Execute) -> CommandResult:
        """Execute the step's nodes, and again those whose error can pass; return the last result of each.

        A transient problem is over once another command has none; any other is not retried.
        """
        nodes = self._resolved.nodes[step.name]
        found = {node.id: NodeResult(node, NodeState.OK, reused=True) for node in nodes if node.id in self._resolved.reusable}
        pending = tuple(node for node in nodes if node.id not in found)
        problem: CommandError | None = None
        for attempt in range(1, step.retries + 2):
            self._progress.step_started(step.name, attempt)
            if not pending:
                break
            command = self._try(step, pending, execute)
            problem = command.error
            self._services.run_log.record_nodes(step.name, command.nodes)
            found |= {result.node.id: result for result in command.nodes}
            pending = nodes_to_retry(found.values())
            if not pending or attempt > step.retries or (problem and not problem.passing):
                break
            log.warning("%s tried again: %s", ", ".join(node.name for node in pending), found[pending[0].id].message)
            self._services.clock.sleep(pause(attempt, self._services.jitter()))
        return CommandResult(tuple(found.values()), problem)

    def _look_at_rows(self, step: TestsStep, tests: Sequence[Node]) -> None:
        """Keep some of the rows that tests found; one that can't be asked again costs neither the others theirs nor the run its result."""
        limit = min(_LOOK, self.time_left() / 4)
        found: dict[str, Rows] = {}
        try:
            with self._services.cancellation.timeout(limit + _GRACE, Cause.STEP_TIMEOUT):
                # Not on the connection that holds the warehouse, which a query of the project could cost us.
                with closing(self._services.warehouse.another("rows")) as connection:
                    self._ask_for_rows(connection, step, tests, limit, found)
                self._services.cancellation.raise_if_cancelled()
        except CancelledError as stop:
            if stop.cause is not Cause.STEP_TIMEOUT:
                raise
            self.clean_up()
        except Exception:
            log.warning("the rows that tests found can't be looked at", exc_info=True)
        if unseen := [test.name for test in tests if not found.get(test.name)]:
            log.warning("no rows are kept of %s", ", ".join(unseen))
        self._services.run_log.store_failed_rows(found)

    def _ask_for_rows(
        self, connection: psycopg.Connection, step: TestsStep, tests: Sequence[Node], limit: timedelta, found: dict[str, Rows]
    ) -> None:
        ends = self._services.clock.elapsed() + limit.total_seconds()
        statements = self._services.dbt.statements(tests, limit)
        for test in tests:
            left = timedelta(seconds=ends - self._services.clock.elapsed())
            if test.id not in statements or left <= timedelta(0) or sum(len(str(rows)) for rows in found.values()) > MAX_LENGTH:
                continue
            try:
                found[test.name] = sample(
                    connection, statements[test.id], SampleOptions(step.sample_rows, min(left, limit / 3), self._services.redact.longest)
                )
            except psycopg.Error as error:
                log.warning("the rows of %s can't be looked at: %s", test.name, describe_error(error))

    def _try(self, step: SourcesStep | LayerStep | TestsStep, nodes: Sequence[Node], execute: Execute) -> CommandResult:
        limit = min(step.timeout, self.time_left())
        try:
            with self._services.cancellation.timeout(limit + _GRACE, Cause.STEP_TIMEOUT):
                command = execute(nodes, limit)
                # dbt turns a stop into an error of its own where it can't cancel its queries.
                self._services.cancellation.raise_if_cancelled()
                return replace(command, nodes=tuple(self._explained(result) for result in command.nodes))
        except CancelledError as stop:
            if stop.cause is not Cause.STEP_TIMEOUT:
                raise
            self.clean_up()
            message = f"not done within {duration_text(limit)}"
            done = self._services.dbt.done
            return CommandResult(
                tuple(
                    NodeResult(node, NodeState.OK)
                    if node.id in done
                    else self._explained(NodeResult(node, NodeState.BROKEN, message, _TIMED_OUT))
                    for node in nodes
                )
            )

    def _explained(self, result: NodeResult) -> NodeResult:
        """Say of one that ran out of time whom the step has waited for: PostgreSQL names neither table nor session."""
        # A lock that was not to be had is waited for no longer by now; a statement that was too slow may never have waited.
        obstacle = {_LOCKED: self._watch.last, _TIMED_OUT: self._watch.now}.get(result.sqlstate or "")
        return replace(result, message=f"{result.message}; the step waited for {obstacle}") if obstacle else result

    def _terms(self, telling: ExitStack) -> Terms:
        return Terms(
            max(self.time_left() - _GRACE, _GRACE), lambda: telling.enter_context(self._services.cancellation.masked()), self._plan.vacuum
        )

    def _validated(self, step: ValidationStep, marts: Marts, telling: ExitStack) -> StepResult:
        """Judge the marts; make them live if nothing speaks against it."""
        back = None
        if self._plan.policy.is_rollback:
            # Counting what is live again may take its time, and a stop has to be let in.
            with ExitStack() as committing:
                back = marts.bring_back(self._terms(committing))
        result = replace(conclude_validation(step, self._verdicts(step, marts), self._plan.label(step.name)), marts=marts.of_run)
        if back:
            return replace(result, version=back, message=f"{result.message}; {back} is live again, and publishing is held")
        if result.failure or any(earlier.failure for earlier in self._progress.results.values()):
            return result
        rows = {mart.relation: mart.rows or 0 for mart in result.validation}
        try:
            return replace(result, version=marts.publish(rows, self._terms(telling)))
        except RunFailedError as error:
            failure = self._blamed(error.failure)
            return replace(result, state=StepState.FAILED, message=failure.message, failure=failure)

    def _blamed(self, failure: Failure) -> Failure:
        """Say who is in the way of validation or publishing, where that may be why it failed and is not said yet."""
        if not failure.passing or not self._watch.now or HELD_BY in failure.message:
            return failure
        return replace(failure, message=f"{failure.message}; it waited for {self._watch.now}")

    def _verdicts(self, step: ValidationStep, marts: Marts) -> list[MartStatus]:
        found = []
        usual = self._services.run_log.median_rows() if any(check.max_row_change is not None for check in step.marts) else {}
        for check in step.marts:
            counts = counting.count(self._services.warehouse, marts.place(check), self.time_left() + _GRACE)
            status = mart_status(check, counts, step.as_of, usual.get(check.relation))
            self._services.run_log.record_mart(counts, status)
            level = logging.INFO if status.verdict is Verdict.VALID else logging.WARNING
            log.log(level, "%s %s: %s", status.relation, status.verdict, status.message or f"{status.rows} rows")
            found.append(status)
        return found
