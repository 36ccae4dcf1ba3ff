"""Executes the step `cache`: calls the endpoints of the dashboards' API once standbys have caught up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from refresh_api.status import EndpointStatus, StepState
from refresh_runner.core.secrets import header_value
from refresh_runner.model.step_results import StepResult, conclude_cache
from refresh_runner.model.steps import CacheStep
from refresh_runner.postgres.replay_lag import ReplayLag, ReplayMonitor
from refresh_runner.run import cache_warmup
from refresh_runner.run.cache_warmup import WarmupContext
from refresh_runner.run.cancellation import Cause
from refresh_runner.run.services import AttemptContext
from refresh_runner.run.steps.base import StepExecutor

_LAG_ALLOWANCE: Final = timedelta(minutes=2)
"""Time beyond their timeouts that all endpoints together may take while a standby has not yet replayed the live data."""


@dataclass(frozen=True)
class CacheExecutor(StepExecutor):
    """Warms the cache of the dashboards' API."""

    step: CacheStep
    context: AttemptContext

    def before(self) -> None:
        """Run on-run-end: all marts are published."""
        self.context.end_hooks()

    def execute(self) -> StepResult:
        """Call the endpoints of the step, and those that the exposures of the marts declare."""
        context, services = self.context, self.context.services
        context.progress.step_started(self.step.name, 1)
        by_mart = context.resolved.exposure_endpoints
        exposed = [endpoint for endpoints in by_mart.values() for endpoint in endpoints]
        step = replace(self.step, endpoints=tuple(dict.fromkeys([*self.step.endpoints, *exposed])))
        replay = ReplayMonitor(services.warehouse, services.clock, context.marts.wal_position)
        lag = replay.wait(min(step.wait_for_replicas, context.time_left())) if step.wait_for_replicas else ReplayLag()
        answers = list(cache_warmup.warm(step, self._warmup_context(replay)))
        if not context.time_left():
            # The last call ends with the attempt, whose timer may fire later than that: the outcome must not depend on which is first.
            services.cancellation.cancel(Cause.DEADLINE)
        without = [str(relation) for relation, endpoints in by_mart.items() if not endpoints]
        answers += [EndpointStatus(path=name, state=StepState.WARNED, message="no exposure declares an endpoint") for name in without]
        return conclude_cache(answers, lag.text)

    def _warmup_context(self, replay: ReplayMonitor) -> WarmupContext:
        step, plan, clock = self.step, self.context.plan, self.context.services.clock
        authorization, problem = header_value(self.context.services.secrets, step.authorization)
        return WarmupContext(
            elapsed=clock.elapsed,
            sleep=clock.sleep,
            deadline=plan.timeout.total_seconds(),
            refresh=plan.run_request.refresh.name,
            version=self.context.marts.live_version() if step.version else None,
            authorization=authorization,
            lag=replay.lag,
            lag_deadline=clock.elapsed() + max(_LAG_ALLOWANCE, step.wait_for_replicas or _LAG_ALLOWANCE).total_seconds(),
            problem=problem,
        )
