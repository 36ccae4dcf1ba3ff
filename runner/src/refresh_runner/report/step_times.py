"""When the steps of a run started and ended, as precisely as the runner knows it: the status has only seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from refresh_api.status import Run, StepState


@dataclass
class StepTimes:
    """The last state of a run, and the times of its steps, by name. `update` follows the progress of the run."""

    run: Run | None = None
    starts: dict[str, datetime] = field(default_factory=dict)
    ends: dict[str, datetime] = field(default_factory=dict)

    def update(self, run: Run) -> None:
        """Note a new state of the run, and when its steps start and end."""
        self.run = run
        for step in run.steps:
            if step.state is StepState.RUNNING:
                self.starts.setdefault(step.name, run.heartbeat_time)
            elif step.state is not StepState.PENDING:
                self.ends.setdefault(step.name, run.heartbeat_time)
