"""Decides whether a run has nothing to do because nothing has changed since the previous run, and records what later runs compare."""

from __future__ import annotations

import logging
from contextlib import closing

import psycopg

from refresh_runner.postgres.data_version import RunSnapshots, parse_snapshots
from refresh_runner.postgres.table_state import UnknownError
from refresh_runner.reuse.environment import NotReusableError
from refresh_runner.reuse.reuser import Reuser
from refresh_runner.run.change_detection import observe_inputs, observe_outputs
from refresh_runner.run.services import AttemptContext
from refresh_runner.runlog.resume import ResumeState

log = logging.getLogger(__name__)


def check_unchanged(context: AttemptContext, earlier: ResumeState) -> str:
    """Return a message with the run since which nothing has changed; empty if something has, or if that is unknown.

    Record the run's inputs.
    """
    if not context.plan.policy.records_inputs:
        return ""
    run_log, tracked, limit = context.services.run_log, context.resolved.tracked, context.time_left() / 4
    last = run_log.previous_run()
    before = parse_snapshots(last.inputs) if last and last.is_comparable else None
    if context.reuser and before and before.outputs and not before.proof:
        log.info("deciding for each model and test: not all results can be proven to be the same")
        return ""
    try:
        # On a separate connection: locks on the tables that are read would otherwise last as long as the warehouse lock.
        with closing(context.services.warehouse.new_connection("look")) as connection:
            read, change = observe_inputs(connection, tracked, limit, before.inputs if before else None)
            if not earlier.is_resumed:
                run_log.record_inputs(RunSnapshots(inputs=read))
            if not context.plan.policy.may_skip_unchanged:
                change = "the run was requested"
            elif earlier.nodes or earlier.restart_reason:
                change = "an earlier attempt of this run has begun"
            if before and last and not change:
                outputs, change = observe_outputs(connection, tracked, limit, before.outputs)
                if not change and context.reuser and context.reuser.surroundings(connection, tracked.outputs) != before.proof:
                    change = "the server, or indexes, constraints, privileges or comments of what the run has built, have changed"
                if not change and context.marts.live_version() == before.version:
                    run_log.record_outputs(outputs, before.version, before.proof)
                    return f"nothing has changed since {last.run_id}"
    except (UnknownError, NotReusableError, psycopg.Error) as error:
        log.info("cannot tell whether anything has changed: %s", error)
        return ""
    log.info("running all steps: %s", change or "the live data version is not the one that the previous run published")
    return ""


def record_outputs(context: AttemptContext) -> None:
    """Record what the run has built, so that later runs can tell whether it still exists."""
    if not context.plan.policy.records_inputs or any(result.failure for result in context.progress.results.values()):
        return
    try:
        with closing(context.services.warehouse.new_connection("look")) as connection:
            tracked, limit, reuser = context.resolved.tracked, context.time_left() / 4, context.reuser
            made, change = observe_outputs(connection, tracked, limit, reuser.observed(tracked.outputs) if reuser else None)
            proof = reuser.surroundings(connection, tracked.outputs) if reuser and not change and _is_proven(context, reuser) else ""
        context.services.run_log.record_outputs(made, context.marts.live_version(), proof)
    except (UnknownError, NotReusableError, psycopg.Error) as error:
        log.info("cannot record what was built for later runs: %s", error)


def _is_proven(context: AttemptContext, reuser: Reuser) -> bool:
    """Return whether the results of all models and tests of the run depend on nothing that later runs do not compare."""
    nodes, graph = context.resolved.nodes, context.services.dbt.graph
    models = graph.relations([node for layer in context.plan.layers for node in nodes.get(layer.name, ())])
    return reuser.is_proven(models.keys() | {node.id for node in nodes.get("tests", ())})
