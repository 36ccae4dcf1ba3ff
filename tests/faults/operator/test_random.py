"""Minutes of random edits, deletions, runs, and restarts of operator and API server; afterwards a fresh operator finds nothing to do.

REFRESH_SEED=1 REFRESH_SECONDS=120
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from cluster.embedded.control_plane import ControlPlane
from refresh_operator.status.conditions import SOON
from support.place import REFRESHES, Place

KEPT = {"cronjobs": "{}", "serviceaccounts": "{}-runner", "roles": "{}-runner", "rolebindings": "{}-runner"}
SEED = int(os.environ.get("REFRESH_SEED") or random.randrange(1_000_000))
SECONDS = float(os.environ.get("REFRESH_SECONDS") or 120)


class Monkey:
    """Does one thing after the other that people, clusters and bad luck do."""

    def __init__(self, place: Place, control_plane: ControlPlane) -> None:
        self.place = place
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
        self.place.edit(name, schedule=f"{self.random.randrange(60)} 0 1 1 *", dbt={"vars": {"a": None}})

    def suspend(self, name: str) -> None:
        self.place.edit(name, suspend=self.random.random() < 0.5)

    def break_spec(self, name: str) -> None:
        self.place.edit(name, dbt={"vars": {"a": 2**63}})

    def request(self, name: str) -> None:
        self.place.request(name, str(time.monotonic_ns()))

    def cancel(self, name: str) -> None:
        for run in self.place.status(name).get("active", []):
            self.place.annotate(name, cancel=run["id"])

    def end(self, name: str, codes: Sequence[int] = (0, 0, 1, 75, 137, 143)) -> None:
        for pod in self.place.api.items(self.place.namespace, "pods", f"dashboards.sigeti.io/refresh={name}"):
            if pod["status"]["phase"] in ("Pending", "Running") and "deletionTimestamp" not in pod["metadata"]:
                job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
                self.place.end(job, self.random.choice(codes))

    def drift(self, name: str) -> None:
        if self.place.cronjob(name):
            self.place.api.patch(self.place.namespace, "cronjobs", name, {"spec": {"suspend": True, "schedule": "1 1 1 1 *"}})

    def delete_kept(self, name: str) -> None:
        plural, pattern = self.random.choice(list(KEPT.items()))
        self.place.api.delete(self.place.namespace, plural, pattern.format(name))

    def delete(self, name: str) -> None:
        self.place.api.delete(self.place.namespace, REFRESHES, name)
        self.place.refresh(name)

    def restart(self, _name: str) -> None:
        self.place.stop(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        self.place.start()

    def restart_api_server(self, _name: str) -> None:
        self.control_plane.stop_component("kube-apiserver")
        time.sleep(self.random.uniform(0, 5))
        self.control_plane.start_component("kube-apiserver")


def versions(place: Place) -> dict[tuple[str, str], str]:
    """The version of everything that the operator writes."""
    return {
        (plural, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
        for plural in (*KEPT, REFRESHES, "jobs")
        for item in place.api.items(place.namespace, plural)
    }


def at_rest(place: Place, seconds: float = 4) -> bool:
    """Nothing moves for a while, and no Job waits for its next pod, which Kubernetes makes later and later."""
    before = versions(place)
    time.sleep(seconds)
    running = [job["status"] for job in place.api.items(place.namespace, "jobs") if not job["status"].get("conditions")]
    return before == versions(place) and all(status.get("active") for status in running)


@pytest.mark.timeout(900)
def test_after_random_minutes_a_fresh_operator_finds_nothing_to_do(own_place, control_plane: ControlPlane):
    """Every refresh is ready, its objects are there, and a restarted operator writes nothing. The seed is in the message."""
    print(f"REFRESH_SEED={SEED}")
    own_place.start()
    monkey = Monkey(own_place, control_plane)
    for name in monkey.names:
        own_place.refresh(name)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        monkey.act()
        time.sleep(monkey.random.random())
    assert len(monkey.done) >= 11, f"seed {SEED}: {monkey.done}"
    for name in monkey.names:
        own_place.edit(name, schedule="0 0 1 1 *", suspend=False, dbt={"vars": {"a": None}})
    for name in monkey.names:
        # what a deleted refresh left is Kubernetes' own to collect, which waits longer and longer for an API server that was away
        own_place.until(lambda name=name: own_place.condition(name, "Ready")[0] == "True", 240, name)
    for _ in range(4):
        for name in monkey.names:
            # Well, since Kubernetes doubles the time until the next pod with each that fails.
            monkey.end(name, [0])
        own_place.until(lambda: at_rest(own_place), 120)
    # A pod that was made just now is said not to have started after a while, whoever watches.
    own_place.until(lambda: at_rest(own_place, SOON.total_seconds() + 3), 120)
    for name in monkey.names:
        assert all(own_place.api.get(own_place.namespace, plural, pattern.format(name)) for plural, pattern in KEPT.items()), f"seed {SEED}"
        assert len(own_place.status(name).get("history", [])) <= 10
        known = [run["id"] for run in own_place.status(name).get("history", [])]
        assert len(known) == len(set(known)), f"seed {SEED}: {known}"
    settled = versions(own_place)
    own_place.stop()
    own_place.start()
    time.sleep(15)
    after = versions(own_place)
    changed = {key for key in settled.keys() | after.keys() if settled.get(key) != after.get(key)}
    assert changed == set(), f"seed {SEED}: {changed}\n{own_place.story('')}"
