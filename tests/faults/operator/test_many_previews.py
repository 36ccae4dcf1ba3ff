"""Many previews at a time, with an operator that is killed and started again: no more run than may, each once, and all end."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

from support.eventually import eventually
from support.operator_harness import OperatorHarness
from support.previews import PREVIEWABLE, PREVIEWS, create_preview, previewable, report_differences

COUNT, LIMIT = 24, 3


def test_many_previews_run_in_turn_and_production_is_not_held(create_operator: Callable[..., OperatorHarness]) -> None:
    """As at the end of a sprint. A run of the same refresh starts at once meanwhile: previews take no turn of it."""
    operator = create_operator(PROJECTS_ALLOWED_URLS="https://git.example.org/data/*", RECHECK="1s")
    operator.start()
    previewable(operator, "busy", preview={**PREVIEWABLE["preview"], "maxConcurrent": LIMIT})
    names = [f"p-{number:02}" for number in range(COUNT)]
    for name in names:
        create_preview(operator, name, "busy")
    most, kills, order = 0, 0, list[str]()

    def step() -> bool:
        nonlocal most, kills
        states = {
            each["metadata"]["name"]: each.get("status", {}).get("state") for each in operator.api.items(operator.namespace, PREVIEWS)
        }
        running = sorted(name for name, state in states.items() if state == "Running")
        most, ended = max(most, len(running)), Counter(states.values())["Differs"]
        order.extend(name for name in running if name not in order)
        if len(running) == LIMIT and len(order) in (6, 12):
            # killed with previews in progress, of which one ends meanwhile
            operator.stop(signal.SIGKILL)
            kills += 1
            report_differences(operator, running[0])
            operator.start()
        elif running and len(running) == min(LIMIT, COUNT - ended):
            report_differences(operator, running[0])
        return ended == COUNT

    operator.request_run("busy", "two")
    eventually(step, within=240, context=lambda: operator.describe("busy"))
    assert kills >= 2
    assert most == LIMIT
    assert order == names
    job = operator.wait_for_job("busy")
    operator.report_run("busy", job)
    operator.end_pod(job, 0)
    assert operator.wait_for_history("busy", job)["outcome"] == "Succeeded"
    jobs = Counter(
        each["metadata"]["labels"]["dashboards.sigeti.io/preview"]
        for each in operator.api.items(operator.namespace, "jobs", "dashboards.sigeti.io/preview")
    )
    assert jobs == dict.fromkeys(names, 1)
