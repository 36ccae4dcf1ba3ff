"""Minutes of random edits, deletions, runs and restarts of operator and API server; afterwards a new operator finds nothing to do.

REFRESH_SEED=1 REFRESH_SECONDS=120
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from cluster.embedded.control_plane import ControlPlane
from refresh_operator.status.conditions import START_GRACE
from support.operator_harness import REFRESHES, OperatorHarness

KEPT = {"cronjobs": "{}", "serviceaccounts": "{}-runner", "roles": "{}-runner", "rolebindings": "{}-runner"}
SEED = int(os.environ.get("REFRESH_SEED") or random.randrange(1_000_000))
SECONDS = float(os.environ.get("REFRESH_SECONDS") or 120)


class Monkey:
    """Executes random actions of users, of the cluster and of bad luck."""

    def __init__(self, operator: OperatorHarness, control_plane: ControlPlane) -> None:
        self.operator = operator
        self.control_plane = control_plane
        self.random = random.Random(SEED)
        self.names = [f"r{number}" for number in range(6)]
        self.done: dict[str, int] = {}

    def act(self) -> None:
        actions: list[Callable[[str], None]] = [self.edit, self.edit, self.request, self.request, self.end, self.end, self.end, self.drift]
        actions += [self.delete_kept, self.delete, self.restart, self.cancel, self.suspend, self.break_spec]
        actions += [self.restart_api_server] * (self.done.get("restart_api_server", 0) < 3)
        action = self.random.choice(actions)
        action(self.random.choice(self.names))
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1

    def edit(self, name: str) -> None:
        self.operator.patch_spec(name, schedule=f"{self.random.randrange(60)} 0 1 1 *", dbt={"vars": {"a": None}})

    def suspend(self, name: str) -> None:
        self.operator.patch_spec(name, suspend=self.random.random() < 0.5)

    def break_spec(self, name: str) -> None:
        self.operator.patch_spec(name, dbt={"vars": {"a": 2**63}})

    def request(self, name: str) -> None:
        self.operator.request_run(name, str(time.monotonic_ns()))

    def cancel(self, name: str) -> None:
        for run in self.operator.status(name).get("active", []):
            self.operator.annotate(name, cancel=run["id"])

    def end(self, name: str, codes: Sequence[int] = (0, 0, 1, 75, 137, 143)) -> None:
        for pod in self.operator.api.items(self.operator.namespace, "pods", f"dashboards.sigeti.io/refresh={name}"):
            if pod["status"]["phase"] in ("Pending", "Running") and "deletionTimestamp" not in pod["metadata"]:
                job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
                self.operator.end_pod(job, self.random.choice(codes))

    def drift(self, name: str) -> None:
        if self.operator.cronjob(name):
            self.operator.api.patch(self.operator.namespace, "cronjobs", name, {"spec": {"suspend": True, "schedule": "1 1 1 1 *"}})

    def delete_kept(self, name: str) -> None:
        plural, pattern = self.random.choice(list(KEPT.items()))
        self.operator.api.delete(self.operator.namespace, plural, pattern.format(name))

    def delete(self, name: str) -> None:
        self.operator.api.delete(self.operator.namespace, REFRESHES, name)
        self.operator.create_refresh(name)

    def restart(self, _name: str) -> None:
        self.operator.stop(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        self.operator.start()

    def restart_api_server(self, _name: str) -> None:
        self.control_plane.stop_component("kube-apiserver")
        time.sleep(self.random.uniform(0, 5))
        self.control_plane.start_component("kube-apiserver")


def versions(operator: OperatorHarness) -> dict[tuple[str, str], str]:
    """Return the resource versions of everything that the operator writes."""
    return {
        (plural, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
        for plural in (*KEPT, REFRESHES, "jobs")
        for item in operator.api.items(operator.namespace, plural)
    }


def at_rest(operator: OperatorHarness, seconds: float = 4) -> bool:
    """Return whether nothing has changed for a while and no Job waits for its next pod."""
    before = versions(operator)
    time.sleep(seconds)
    running = [job["status"] for job in operator.api.items(operator.namespace, "jobs") if not job["status"].get("conditions")]
    return before == versions(operator) and all(status.get("active") for status in running)


@pytest.mark.timeout(900)
def test_after_random_minutes_a_fresh_operator_finds_nothing_to_do(fresh_operator, control_plane: ControlPlane):
    """Every refresh is Ready with its objects, and a restarted operator writes nothing. The seed is in the failure's message."""
    print(f"REFRESH_SEED={SEED}")
    fresh_operator.start()
    monkey = Monkey(fresh_operator, control_plane)
    for name in monkey.names:
        fresh_operator.create_refresh(name)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        monkey.act()
        time.sleep(monkey.random.random())
    assert len(monkey.done) >= 11, f"seed {SEED}: {monkey.done}"
    for name in monkey.names:
        fresh_operator.patch_spec(name, schedule="0 0 1 1 *", suspend=False, dbt={"vars": {"a": None}})
    for name in monkey.names:
        # garbage collection backs off while the API server is away
        fresh_operator.wait_for(lambda name=name: fresh_operator.condition(name, "Ready")[0] == "True", 240, name)
    for _ in range(4):
        for name in monkey.names:
            # generous, because Kubernetes doubles the delay after each failed pod
            monkey.end(name, [0])
        fresh_operator.wait_for(lambda: at_rest(fresh_operator), 120)
    # a pod created just now is reported as not started after a while, by any operator
    fresh_operator.wait_for(lambda: at_rest(fresh_operator, START_GRACE.total_seconds() + 3), 120)
    for name in monkey.names:
        assert all(fresh_operator.api.get(fresh_operator.namespace, plural, pattern.format(name)) for plural, pattern in KEPT.items()), (
            f"seed {SEED}"
        )
        assert len(fresh_operator.status(name).get("history", [])) <= 10
        known = [run["id"] for run in fresh_operator.status(name).get("history", [])]
        assert len(known) == len(set(known)), f"seed {SEED}: {known}"
    settled = versions(fresh_operator)
    fresh_operator.stop()
    fresh_operator.start()
    time.sleep(15)
    after = versions(fresh_operator)
    changed = {key for key in settled.keys() | after.keys() if settled.get(key) != after.get(key)}
    assert changed == set(), f"seed {SEED}: {changed}\n{fresh_operator.describe('')}"
