"""Connects the decisions about nodes (refresh_runner.reuse) to one attempt: its project, its warehouse and its marts."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from refresh_runner.dbt.engine import Candidate
from refresh_runner.model.plan import Plan
from refresh_runner.model.steps import TestsStep
from refresh_runner.publish.publisher import MartPublisher
from refresh_runner.reuse.reuser import Reuser
from refresh_runner.run.services import Services

_LONGEST: Final = timedelta(minutes=5)
"""Maximum duration of a query that observes a relation."""


def reuser_of(plan: Plan, services: Services, marts: MartPublisher) -> Reuser | None:
    """Return what decides for each node whether it is reused; None if the refresh reuses none. Call it before marts are staged."""
    if not plan.policy.reuses_nodes:
        return None
    dbt = services.dbt

    def keep_live(candidate: Candidate) -> None:
        if candidate.relation is None:
            return
        if candidate.built_as != candidate.relation:
            dbt.unstage(candidate.id)
        marts.keep_live(candidate.relation)

    reuser = Reuser(
        connect=lambda: services.warehouse.new_connection("reuse"),
        programs=services.programs,
        names=[*dbt.graph.known(), *dbt.graph.data_test_ids()],
        models=dbt.graph.built_tables(),
        run_id=plan.attempt.run_id,
        limit=lambda: min(_LONGEST, services.time_left(plan)),
        on_reused=keep_live,
        reuses_verdicts=all(step.reuses_verdicts for step in plan.steps if isinstance(step, TestsStep)),
        forced=f"the run's mode is {plan.mode}" if plan.policy.builds_all else "",
    )
    dbt.reuse_nodes(reuser)
    return reuser
