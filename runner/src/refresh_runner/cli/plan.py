"""`refresh-runner plan`: prints what a run would do (dry run). Changes nothing, and calls no endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from refresh_api.plain import pluralize
from refresh_api.run_request import ExitCode
from refresh_api.spec import LockPolicy
from refresh_api.steps import FailurePolicy, StalePolicy
from refresh_api.values import duration_text
from refresh_runner.cli.environment import Environment, RunOptions, access_of, plan_of, printer
from refresh_runner.cli.project_option import project_of
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import SecretFolder, SecretMissingError
from refresh_runner.dbt import spelling
from refresh_runner.dbt.open_project import open_project
from refresh_runner.dbt.patches.registry import asks_about_nodes
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file
from refresh_runner.model.plan import Attempt, Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import CacheStep, LayerStep, SourcesStep, Step, TestsStep, ValidationStep
from refresh_runner.postgres import advisory_lock
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import PLACEHOLDER, ConnectionInfo
from refresh_runner.postgres.standbys import attached_standbys, deferring_standbys, standby_names
from refresh_runner.postgres.yielding import yielding
from refresh_runner.publish import versions
from refresh_runner.publish.staged_tables import staged_tables
from refresh_runner.reuse.forecast import Outlook
from refresh_runner.run.model_selection import model_selection
from refresh_runner.run.preflight import missing_relations
from refresh_runner.run.reuse import forecast
from refresh_runner.runlog.resume import programs

_REUSE: Final = "each model, seed and test is reused if its result provably would be the same"
_RESULTS_UNKNOWN: Final = "which ones is unknown: not connected to the warehouse, which has the earlier results"
_NEVER_ASKED: Final = "builds everything: the patch node_reuse of dbt is off"
_OUTLOOKS: Final = {
    Outlook.REUSED: "would be reused",
    Outlook.BUILT: "would be built or run",
    Outlook.OPEN: "would be built or run only if the run changes what they read, which it decides while it runs",
    Outlook.UNKNOWN: "cannot be judged now",
}


@dataclass(frozen=True)
class PlanLine:
    """One line of the output: a subject, and what a run would do with it."""

    subject: str
    text: str

    def __str__(self) -> str:
        """Return both in columns."""
        return f"{self.subject:<16} {self.text}"


def plan_command(options: RunOptions, environment: Environment) -> int:
    """Print what a run of the file's refresh would do. Return the exit code."""
    Dbt.preload()
    if options.file is None:
        raise ValueError("plan requires a file")
    try:
        run_request = run_request_from_file(options.file, options.mode, options.variables)
    except InvalidRunRequestError as error:
        printer(environment)(f"{options.file}: invalid DashboardRefresh: {error}")
        return ExitCode.USAGE
    plan = plan_of(run_request, Attempt("plan"), environment)
    try:
        project = project_of(run_request.spec, options.project)
    except RunFailedError as error:
        printer(environment)(f"✗ {error.failure.message}")
        return ExitCode.USAGE
    try:
        access = access_of(run_request.spec.warehouse.secret_ref.name, SecretFolder(options.secrets), environment.variables)
    except (SecretMissingError, ValueError) as error:
        if options.secrets or isinstance(error, ValueError):
            printer(environment)(f"✗ {error}")
            return ExitCode.USAGE
        access = None
    return print_plan(plan, project, access, environment.clock, printer(environment, access))


def print_plan(plan: Plan, project: Path, access: ConnectionInfo | None, clock: Clock, say: Callable[[str], None]) -> ExitCode:
    """Print what a run of the plan would do. Return FAILED if it would fail before its first step. Without `access`, query nothing."""
    try:
        for line in _lines(plan, project, access, clock):
            say(str(line))
    except RunFailedError as error:
        say(f"✗ {error.failure.text}")
        return ExitCode.FAILED
    return ExitCode.OK


def _lines(plan: Plan, project: Path, access: ConnectionInfo | None, clock: Clock) -> Iterator[PlanLine]:
    yield PlanLine(
        plan.run_request.refresh.name, f"{plan.run_request.display_name}: {plan.mode}; at most {duration_text(plan.timeout)} per attempt"
    )
    if plan.run_request.vars:
        yield PlanLine("variables", f"for this run only: {', '.join(f'{name}={value!r}' for name, value in plan.run_request.vars.items())}")
    if plan.policy.reuses_nodes:
        yield PlanLine("unchanged", _REUSE)
    elif plan.policy.records_inputs:
        yield PlanLine(
            "unchanged", "a scheduled run builds nothing if nothing has changed since the previous run; a requested run always builds"
        )
    wait = f"wait up to {duration_text(plan.lock.wait_timeout)}"
    held = {LockPolicy.WAIT: wait, LockPolicy.SKIP: "skip this run", LockPolicy.FAIL: "fail"}
    warehouse = WarehouseConnection(access, "refresh-plan", clock) if access else None
    try:
        yield PlanLine("lock", f"if another run holds the warehouse: {held[plan.lock.policy]}{_holder(warehouse)}")
        with open_project(project, plan.dbt, "refresh-plan", access or PLACEHOLDER) as dbt:
            plan = spelling.by_project(plan, dbt)
            yield from _steps(plan, dbt, warehouse)
            if plan.policy.reuses_nodes:
                yield from (PlanLine("unchanged", text) for text in _reuse(plan, dbt, warehouse))
        if warehouse:
            yield from _standbys(plan, warehouse)
        yield _live_version(plan, warehouse)
    finally:
        if warehouse:
            warehouse.close()


def _holder(warehouse: WarehouseConnection | None) -> str:
    if warehouse is None:
        return "; not connected to the warehouse"
    with warehouse.session() as connection:
        name = advisory_lock.current_holder(connection)
    return f"; {name} holds it now" if name else "; no run holds it now"


def _steps(plan: Plan, dbt: Dbt, warehouse: WarehouseConnection | None) -> Iterator[PlanLine]:
    built: list[Node] = []
    chosen = model_selection(plan, dbt)
    for step in plan.steps:
        label = plan.label(step.name)
        if why := plan.policy.skipped_steps.get(step.name):
            yield PlanLine(label, why)
            continue
        nodes: Sequence[Node] = ()
        if isinstance(step, LayerStep):
            nodes = chosen.of(dbt.graph.buildable(step.selection))
            built += nodes
            if not nodes:
                yield PlanLine(label, chosen.skip_reason)
                continue
        elif isinstance(step, TestsStep):
            nodes = dbt.graph.tests(step.selection)
        for part in _describe(plan, step, nodes, dbt, built):
            yield PlanLine(label, part)
        if isinstance(step, LayerStep):
            yield from (PlanLine(label, text) for text in _upstream(dbt, nodes, built, warehouse))


def _describe(plan: Plan, step: Step, nodes: Sequence[Node], dbt: Dbt, built: Sequence[Node]) -> Iterator[str]:
    match step:
        case SourcesStep():
            late = {StalePolicy.WARN: "is a warning", StalePolicy.SKIP: "skips the run", StalePolicy.FAIL: "fails the run"}[
                step.stale_policy
            ]
            yield f"checks the freshness of the sources that the layers read; a stale source {late}"
        case LayerStep():
            limit = f"at most {duration_text(step.timeout)} per try; retries of transient errors: {step.retries}"
            yield f"builds {', '.join(node.name for node in nodes)}; {limit}"
        case TestsStep():
            bad = "fails the run and publishes nothing" if step.failure_policy is FailurePolicy.FAIL else "is a warning"
            yield f"runs {len(nodes)} tests; a failed test {bad}"
        case ValidationStep():
            beside, places = staged_tables(plan, dbt, built, step.marts), set(dbt.graph.relations(built).values())
            for check in step.marts:
                relation = Relation(check.schema, check.table)
                keys = (
                    f"; warns if {', '.join(check.key_columns)} is NULL in {check.max_null_share * 100:f}% of the rows or more"
                    if check.key_columns
                    else ""
                )
                how = "published with the other marts after validation" if relation in beside else "validated in place"
                if relation not in places:
                    how = f"not built by this run, {how}"
                yield f"{relation}: {how}{keys}"
        case CacheStep():
            proof = ", until they serve the live version" if step.version else ""
            exposed = dbt.graph.endpoints(Relation(check.schema, check.table) for check in plan.marts) if step.from_exposures else {}
            count = len({*step.endpoints, *(each for endpoints in exposed.values() for each in endpoints)})
            waits = f"; first waits up to {duration_text(step.wait_for_replicas)} for standbys" if step.wait_for_replicas else ""
            yield f"calls {count} endpoints of {step.base_url}{proof}; at most {duration_text(step.timeout)} each{waits}"


def _reuse(plan: Plan, dbt: Dbt, warehouse: WarehouseConnection | None) -> Iterator[str]:
    """Yield how much a run would reuse, and a line for each node that it would build or test, or about which only the run can decide."""
    if plan.policy.builds_all:
        yield f"builds everything: the run's mode is {plan.mode}"
        return
    if warehouse is None or not asks_about_nodes():
        yield _RESULTS_UNKNOWN if warehouse is None else _NEVER_ASKED
        return
    steps = [step for step in plan.steps if step.name not in plan.policy.skipped_steps]
    chosen = model_selection(plan, dbt)
    built = [node for step in steps if isinstance(step, LayerStep) for node in chosen.of(dbt.graph.buildable(step.selection))]
    places = dbt.graph.relations(built) | dbt.graph.function_relations(built)
    models = list(dict.fromkeys(node for node in built if node.id in places))
    tests = [node for step in steps if isinstance(step, TestsStep) for node in dbt.graph.tests(step.selection)]
    with yielding(warehouse):
        prospects = forecast(plan, dbt, warehouse, programs(), models, tests)
    for outlook, what in _OUTLOOKS.items():
        found = {prospect.node for prospect in prospects if prospect.outlook is outlook}
        if found or outlook is Outlook.REUSED:
            of_models, of_tests = (
                f"{len(found.intersection(nodes))} of {pluralize(len(nodes), kind)}" for nodes, kind in ((models, "model"), (tests, "test"))
            )
            yield f"{of_models} and {of_tests} {what}"
    yield from (prospect.text for prospect in prospects if prospect.outlook is not Outlook.REUSED)


def _upstream(dbt: Dbt, nodes: Sequence[Node], built: Sequence[Node], warehouse: WarehouseConnection | None) -> Iterator[str]:
    upstream = dbt.graph.upstream(nodes, built)
    missing = missing_relations(upstream, warehouse) if warehouse and upstream else set()
    for model in upstream:
        state = "" if warehouse is None else "; it exists" if model.relation not in missing else "; MISSING: the run would fail"
        by = f", built by {model.built_by}" if model.built_by else ""
        yield f"{model.needed_by} reads {model.relation}{by}{state}"


def _standbys(plan: Plan, warehouse: WarehouseConnection) -> Iterator[PlanLine]:
    """Yield what a run does for readers on standbys, if anything."""
    with warehouse.session() as connection:
        found = attached_standbys(connection)
    because = deferring_standbys(found, plan.vacuum)
    if because is not None:
        why = f"{standby_names(because)}: no hot_standby_feedback" if because else f"vacuum: {plan.vacuum}"
        yield PlanLine("standbys", f"dead rows are kept until the run ends, and vacuumed before the next publish ({why})")
    elif found:
        yield PlanLine("standbys", f"marts are vacuumed after the publish ({standby_names(found)}; vacuum: {plan.vacuum})")


def _live_version(plan: Plan, warehouse: WarehouseConnection | None) -> PlanLine:
    if warehouse is None:
        return PlanLine("live", "not connected to the warehouse: set PGUSER, PGPASSWORD and so on, or use --secrets")
    with warehouse.session() as connection:
        try:
            live = versions.current(connection, plan.run_request.refresh.name)
        except psycopg.errors.UndefinedTable:
            live = None
    if live is None:
        return PlanLine("live", "nothing is published yet")
    held = f"; publishing is held since {live.held_since:%Y-%m-%d %H:%M %Z}" if live.held_since else ""
    before = f"; previous version {live.previous}" if live.previous else ""
    return PlanLine("live", f"the data of {live.name}, since {live.published_at:%Y-%m-%d %H:%M %Z}{before}{held}")
