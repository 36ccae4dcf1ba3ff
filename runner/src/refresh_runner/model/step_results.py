"""Results of steps: pure functions from the results of dbt, the warehouse and the API to a step's state and message."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Self

from refresh_api.plain import pluralize
from refresh_api.status import EndpointStatus, MartStatus, NodeCounts, Reason, StepState, TestCounts, Verdict
from refresh_api.steps import FailurePolicy, StalePolicy
from refresh_runner.core.errors import TRANSIENT_HINT, Failure, is_retryable
from refresh_runner.model.steps import SourcesStep, TestsStep, ValidationStep

_KINDS: Final = ("seed", "snapshot", "function")
"""What dbt builds in addition to models."""
_MAX_LISTED: Final = 20
"""Maximum number of failures that a status or message lists by name."""


class NodeState(Enum):
    """The result of a node in dbt."""

    OK = "ok"
    WARNED = "warned"
    FAILED = "failed"
    """A test returned failing rows."""
    BROKEN = "broken"
    """The node could not be executed."""
    SKIPPED = "skipped"
    """A node upstream is broken."""
    REUSED = "reused"
    """An earlier run has built it, and nothing that it depends on has changed."""


@dataclass(frozen=True)
class Node:
    """One model or test of the project."""

    id: str
    name: str


@dataclass(frozen=True)
class NodeResult:
    """The result of one node."""

    node: Node
    state: NodeState
    message: str = ""
    sqlstate: str | None = None
    seconds: float = 0.0
    kept: bool = False
    """Whether an earlier attempt of the run built it."""
    rows: int | None = None
    """Number of rows written; None if dbt does not know it, as for a view."""
    unchanged: bool = False
    """Whether it is known to have been built with the rows that it had before."""

    @property
    def retryable(self) -> bool:
        """Whether the error is transient."""
        return self.state is NodeState.BROKEN and is_retryable(self.sqlstate)


@dataclass(frozen=True)
class CommandError:
    """An error of a dbt command that belongs to no selected node: a failed hook, a warning treated as an error, or an exception."""

    message: str
    retryable: bool = False
    """Whether it is transient."""


@dataclass(frozen=True)
class CommandResult:
    """The result of one dbt command."""

    nodes: tuple[NodeResult, ...]
    error: CommandError | None = None
    """Why dbt reported a failure that no node explains."""


@dataclass(frozen=True)
class StepResult:
    """The result of one step."""

    state: StepState
    message: str = ""
    failure: Failure | None = None
    nodes: NodeCounts | None = None
    """Numbers of models or tests."""
    validation: tuple[MartStatus, ...] = ()
    version: str | None = None
    """The data version that this step published."""
    marts: int | None = None
    """Number of marts that the run builds, if not all."""
    tests: TestCounts | None = None
    tests_with_rows: tuple[Node, ...] = ()
    """Tests that returned failing rows, failed tests first, up to the maximum number that is listed."""
    endpoints: tuple[EndpointStatus, ...] = ()

    @property
    def models(self) -> NodeCounts:
        """Numbers of models; zero for steps that build none."""
        return self.nodes if self.nodes and not self.tests else NodeCounts()

    @classmethod
    def failed(cls, failure: Failure) -> Self:
        """Return the result of a step that ended with a failure."""
        return cls(StepState.FAILED, failure.message, failure)


def with_command_error(result: StepResult, problem: CommandError | None, label: str) -> StepResult:
    """Return a step's result, failed if its dbt command failed. Even if all nodes succeeded, dbt may have left work undone."""
    if problem is None or (result.failure and not result.failure.skips_run):
        return result
    hint = TRANSIENT_HINT if problem.retryable else "fix what dbt reports in the dbt project"
    failure = Failure(Reason.DBT_FAILED, f"{label}: {problem.message}", problem.retryable, hint)
    return replace(result, state=StepState.FAILED, message=failure.message, failure=failure)


def skipped(why: str) -> StepResult:
    """Return the result of a step that was not started."""
    return StepResult(StepState.SKIPPED, why)


def nodes_to_retry(results: Iterable[NodeResult]) -> tuple[Node, ...]:
    """Return the nodes to retry: none unless all errors are transient."""
    results = tuple(results)
    broken = [result for result in results if result.state is NodeState.BROKEN]
    if not broken or not all(result.retryable for result in broken):
        return ()
    return tuple(result.node for result in results if result.state in {NodeState.BROKEN, NodeState.SKIPPED})


def conclude_layer(results: Sequence[NodeResult], label: str) -> StepResult:
    """Conclude a layer from its models' results."""
    broken = [result for result in results if result.state in {NodeState.BROKEN, NodeState.FAILED}]
    done = [result for result in results if result.state in {NodeState.OK, NodeState.WARNED, NodeState.REUSED}]
    nodes = _counts(done)
    if not broken:
        return StepResult(StepState.SUCCEEDED, _built(done), nodes=nodes)
    message = "; ".join(f"{result.node.name}: {result.message}" for result in broken[:_MAX_LISTED])
    retryable = all(result.retryable for result in broken)
    hint = TRANSIENT_HINT if retryable else f"correct {broken[0].node.name} in the dbt project"
    failure = Failure(Reason.LAYER_FAILED, f"{label}: {message}", retryable, hint)
    return StepResult(StepState.FAILED, message, failure, nodes=nodes)


def conclude_sources(step: SourcesStep, results: Sequence[NodeResult], label: str) -> StepResult:
    """Conclude the freshness check. A source that could not be checked counts as stale, unless the error is transient."""
    stale = [result for result in results if result.state in {NodeState.FAILED, NodeState.BROKEN, NodeState.SKIPPED}]
    late = [result for result in results if result.state is NodeState.WARNED]
    message = "; ".join(f"{result.node.name} {result.message}" for result in [*stale, *late][:_MAX_LISTED])
    if not stale or step.stale_policy is StalePolicy.WARN:
        state = StepState.WARNED if stale or late else StepState.SUCCEEDED
        return StepResult(state, message or f"{pluralize(len(results), 'source')} loaded in time")
    if all(result.retryable for result in stale):
        # Their freshness is unknown, and another attempt may succeed.
        failure = Failure(Reason.SOURCES_STALE, f"{label}: {message}", retryable=True, hint=TRANSIENT_HINT)
        return StepResult(StepState.FAILED, message, failure)
    skips = step.stale_policy is StalePolicy.SKIP
    failure = Failure(Reason.SOURCES_STALE, f"{label}: {message}", hint="check what loads these sources", skips_run=skips)
    return StepResult(StepState.WARNED if skips else StepState.FAILED, message, failure)


def conclude_tests(step: TestsStep, results: Sequence[NodeResult], label: str) -> StepResult:
    """Conclude the tests. A test that could not run counts as failed, and one with severity `warn` only warns."""
    failed = [result for result in results if result.state in {NodeState.FAILED, NodeState.BROKEN, NodeState.SKIPPED}]
    warned = [result for result in results if result.state is NodeState.WARNED]
    counts = TestCounts(
        passed=len(results) - len(failed) - len(warned),
        warned=len(warned),
        failed=len(failed),
        failures=[result.node.name for result in failed[:_MAX_LISTED]],
    )
    details = "; ".join(f"{result.node.name}: {result.message}" for result in [*failed, *warned][:_MAX_LISTED])
    found = tuple(each.node for each in [*failed, *warned] if each.state in {NodeState.FAILED, NodeState.WARNED})[:_MAX_LISTED]
    nodes = _counts(results)
    if not failed:
        state = StepState.WARNED if warned else StepState.SUCCEEDED
        passed = f"{pluralize(counts.passed, 'test')} passed{f', {nodes.reused} of them reused' if nodes.reused else ''}"
        return StepResult(state, details or passed, tests=counts, tests_with_rows=found, nodes=nodes)
    why = " (failurePolicy: Warn)" if step.failure_policy is FailurePolicy.WARN else ""
    message = f"{len(failed)} of {pluralize(len(results), 'test')} failed{why}: {details}"
    if step.failure_policy is FailurePolicy.WARN:
        return StepResult(StepState.WARNED, message, tests=counts, tests_with_rows=found, nodes=nodes)
    failure = Failure(
        Reason.TESTS_FAILED,
        f"{label}: {message}",
        retryable=all(result.retryable for result in failed),
        hint="check the rows that the test returns: they break a rule that the dashboards rely on",
    )
    return StepResult(StepState.FAILED, message, failure, tests=counts, tests_with_rows=found, nodes=nodes)


def conclude_validation(step: ValidationStep, marts: Sequence[MartStatus], label: str) -> StepResult:
    """Conclude the validation: a FAILED mart fails the run, a WARNING warns."""
    bad = [mart for mart in marts if mart.verdict is not Verdict.VALID]
    valid = len(marts) - len(bad)
    message = "; ".join(f"{mart.relation} {mart.verdict}: {mart.message}" for mart in bad)
    if any(mart.verdict is Verdict.FAILED for mart in bad):
        failure = Failure(Reason.VALIDATION_FAILED, f"{label}: {message}", hint="check the mart and the sources that it is built from")
        return StepResult(StepState.FAILED, message, failure, validation=tuple(marts))
    if bad:
        return StepResult(StepState.WARNED, message, validation=tuple(marts))
    return StepResult(StepState.SUCCEEDED, f"{valid}/{len(step.marts)} marts valid", validation=tuple(marts))


def conclude_cache(endpoints: Sequence[EndpointStatus], lag: str = "") -> StepResult:
    """Conclude the calls of the API. The data is correct whatever it responds, so anything but 200 only warns.

    `lag` says what standbys had not yet replayed when the wait for them ended, which also warns.
    """
    warned = [endpoint for endpoint in endpoints if endpoint.state is StepState.WARNED]
    by_cause: dict[str, list[str]] = {}
    for endpoint in warned:
        by_cause.setdefault(endpoint.message or "", []).append(endpoint.path)
    causes = [f"waited for replicas: {lag}"] if lag else []
    causes += [f"{', '.join(paths)}: {cause}" for cause, paths in by_cause.items()]
    if causes:
        return StepResult(StepState.WARNED, "; ".join(causes), endpoints=tuple(endpoints))
    return StepResult(StepState.SUCCEEDED, f"{pluralize(len(endpoints), 'endpoint')} answered", endpoints=tuple(endpoints))


def _counts(results: Sequence[NodeResult]) -> NodeCounts:
    """Return the numbers of nodes: those that were neither reused nor skipped count as built."""
    states = Counter(result.state for result in results)
    reused = states[NodeState.REUSED]
    unchanged = sum(result.unchanged for result in results)
    return NodeCounts(built=len(results) - reused - states[NodeState.SKIPPED], unchanged=unchanged, reused=reused)


def _built(done: Sequence[NodeResult]) -> str:
    """Return the numbers of models, seeds and so on that were built, kept and reused, in words."""
    reused = [result.node for result in done if result.state is NodeState.REUSED]
    kept = [result.node for result in done if result.kept]
    new = [result.node for result in done if not result.kept and result.state is not NodeState.REUSED]
    parts = [(new, "built"), (kept, "kept from an earlier attempt"), (reused, "reused")]
    counted = [(nodes, what) for nodes, what in parts if nodes] or [(new, "built")]
    first, *further = counted
    unchanged = sum(result.unchanged for result in done)
    same = [f"{unchanged} of them unchanged"] if unchanged else []
    return ", ".join([f"{count_by_kind(first[0])} {first[1]}", *same, *(f"{len(nodes)} {what}" for nodes, what in further)])


def count_by_kind(nodes: Sequence[Node]) -> str:
    """Return the number of nodes of each kind, in words."""
    found = Counter(kind if (kind := node.id.partition(".")[0]) in _KINDS else "model" for node in nodes)
    return ", ".join(pluralize(found[kind], kind) for kind in ("model", *_KINDS) if found[kind]) or pluralize(0, "model")
