"""Prints the logs of a run: those of each attempt, and in each of them of the container that fetches the project before the runner's."""

import sys
import time
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from refresh_api.names import PROJECT_CONTAINER, REFRESH_LABEL, RUNNER_CONTAINER
from refresh_api.plain import plain
from refresh_cli.kubectl import CliError, Kubectl

_OURS = (PROJECT_CONTAINER, RUNNER_CONTAINER)
"""The containers of a run, in the order in which they run. The cluster may add others."""


class _Parsed(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


class _State(_Parsed):
    running: dict[str, object] | None = None
    terminated: dict[str, object] | None = None


class _Container(_Parsed):
    name: str
    state: _State = _State()


class _Status(_Parsed):
    phase: str = "Pending"
    init_container_statuses: list[_Container] = []
    container_statuses: list[_Container] = []


class _Name(_Parsed):
    name: str
    creation_timestamp: str = ""


class _Named(_Parsed):
    name: str


class _Spec(_Parsed):
    init_containers: list[_Named] = []
    containers: list[_Named] = []


class _Pod(_Parsed):
    metadata: _Name
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def has_ended(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def containers(self) -> list[str]:
        """The names of its containers that belong to the run, in the order in which they run."""
        names = [each.name for each in (*self.spec.init_containers, *self.spec.containers)]
        return [name for name in _OURS if name in names]

    def has_started(self, container: str) -> bool:
        statuses = [*self.status.init_container_statuses, *self.status.container_statuses]
        return any(each.name == container and (each.state.running or each.state.terminated) is not None for each in statuses)


class _Pods(_Parsed):
    items: list[_Pod] = []


@dataclass
class RunLogs:
    """The logs of one run."""

    kubectl: Kubectl
    refresh: str
    run: str
    interval: float = 1.0
    """Seconds between two polls while following."""
    _printed: set[str] = field(default_factory=set)

    def print(self, *, follow: bool) -> int:
        """Print them; with `follow` until the run has ended. Return kubectl's exit code."""
        pods = self._pods()
        if not pods and not follow:
            message = f"run {self.run} has no pod any more, and so no log"
            raise CliError(f"{message}: see kubectl dashboardrefresh artifacts {self.refresh} {self.run}")
        # lines are told apart by it, and a run with one container stays readable as JSON
        prefix = len(pods) > 1 or any(len(pod.containers) > 1 for pod in pods)
        while True:
            for pod in pods:
                if code := self._print_pod(pod, prefix=prefix, follow=follow):
                    return code
            if not follow:
                return 0
            pods = [pod for pod in self._pods() if pod.metadata.name not in self._printed]
            prefix = prefix or bool(self._printed)
            if not pods:
                if self.run not in [active.id for active in self.kubectl.refresh(self.refresh).status.active]:
                    return 0
                time.sleep(self.interval)

    def _print_pod(self, pod: _Pod, *, prefix: bool, follow: bool) -> int:
        name = pod.metadata.name
        for container in pod.containers:
            if not self._wait_for_start(pod, container, follow=follow):
                print(plain(f"{name}: container {container} has not started"), file=sys.stderr, flush=True)
                break
            options = [*(["--prefix"] if prefix else []), *(["-f"] if follow else [])]
            code = self.kubectl.stream("logs", name, f"--container={container}", "--tail=-1", *options)
            if code:
                return code
        self._printed.add(name)
        return 0

    def _wait_for_start(self, pod: _Pod, container: str, *, follow: bool) -> bool:
        """Return whether a container has started; with `follow`, wait until it has or never will."""
        while not pod.has_started(container):
            if pod.has_ended or not follow:
                return False
            time.sleep(self.interval)
            found = next((each for each in self._pods() if each.metadata.name == pod.metadata.name), None)
            if found is None:
                return False
            pod = found
        return True

    def _pods(self) -> list[_Pod]:
        selector = f"--selector={REFRESH_LABEL}={self.refresh},batch.kubernetes.io/job-name={self.run}"
        try:
            found = _Pods.model_validate_json(self.kubectl("get", "pods", selector, "-o", "json"))
        except ValidationError as error:
            raise CliError(f"cannot read the pods of run {self.run}: {error.errors(include_input=False)[0]['msg']}") from None
        return sorted(found.items, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))
