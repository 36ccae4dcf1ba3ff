"""Kills a runner during a run, at the same point each time."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refresh_runner.run.services import AttemptContext

_RUN_LOG_TIMEOUT = 30.0


def kill_before_last_node() -> None:
    """Make this process kill itself once it has built all nodes of the layers except the last, or the only one.

    The run log is written first: nodes that are missing in it are built again, as if the runner had been killed earlier.
    """
    from refresh_runner.model.steps import LayerStep
    from refresh_runner.run.services import AttemptContext

    begin_hooks = AttemptContext.begin_hooks
    built: set[str] = set()

    def begin_hooks_and_watch(context: AttemptContext) -> None:
        begin_hooks(context)
        layers = [step.name for step in context.plan.steps if isinstance(step, LayerStep)]
        nodes = {node.id for layer in layers for node in context.resolved.nodes.get(layer, ())}
        run_log = context.services.run_log

        def record(node_id: str) -> None:
            run_log.node_succeeded(node_id)
            built.add(node_id)
            if len(built & nodes) >= max(len(nodes) - 1, 1):
                run_log.close(_RUN_LOG_TIMEOUT)
                os.kill(os.getpid(), signal.SIGKILL)

        context.services.dbt.call_on_completed(record)

    AttemptContext.begin_hooks = begin_hooks_and_watch  # type: ignore[method-assign, assignment]
