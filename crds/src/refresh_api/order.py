"""What one pod is told: the order, frozen when its Job was made; and the codes by which it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, model_validator

from refresh_api.model import Model
from refresh_api.names import API_VERSION, KIND
from refresh_api.spec import RefreshSpec


class RefreshRef(Model):
    """Which refresh: the coordinates of the resource; no uid outside a cluster."""

    name: str
    namespace: str = "default"
    uid: str | None = None


class ModeKind(StrEnum):
    """What a run does."""

    REFRESH = "refresh"
    """All steps, as scheduled runs do."""
    FULL_REFRESH = "full-refresh"
    """All steps; incremental models are built anew."""
    FROM = "from"
    """The named step and those after it."""
    ONLY = "only"
    """The named step alone."""
    ROLLBACK = "rollback"
    """Put the previous data back, and publish nothing until somebody resumes."""
    RESUME = "resume"
    """All steps; publishing goes on after a roll-back."""


@dataclass(frozen=True)
class RunMode:
    """What a run does, and at which step where that needs one."""

    kind: ModeKind
    step: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a mode as users write it: `full-refresh`, `from=marts`; ValueError says what can be written."""
        kind, equals, step = text.partition("=")
        stepwise = (ModeKind.FROM, ModeKind.ONLY)
        if kind not in list(ModeKind) or bool(step) != (kind in stepwise) or (equals and not step):
            known = ", ".join(f"{each}=STEP" if each in stepwise else each for each in ModeKind)
            raise ValueError(f"{text!r} is no run mode: write one of {known}")
        return cls(ModeKind(kind), step)

    def check(self, steps: Sequence[str]) -> None:
        """Raise ValueError if the refresh has no such step."""
        if self.step and self.step not in steps:
            raise ValueError(f"{self}: there is no step {self.step!r}; the steps are {', '.join(steps)}")

    def __str__(self) -> str:
        """As users write it."""
        return f"{self.kind}={self.step}" if self.step else self.kind.value


def _checked_mode(text: str) -> str:
    return str(RunMode.parse(text))


class Order(Model):
    """One refresh to run, pinned to a generation of its spec."""

    refresh: RefreshRef
    generation: int = 0
    spec: RefreshSpec
    mode: Annotated[str, AfterValidator(_checked_mode)] = ModeKind.REFRESH.value

    @property
    def title(self) -> str:
        """Opens the notes in the log."""
        return self.spec.title or self.refresh.name


class Metadata(Model):
    """What a runner without a cluster reads of a manifest's metadata; all else in it is the cluster's."""

    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = "default"


class Manifest(Model):
    """A DashboardRefresh as its users write it into a file."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: RefreshSpec

    @model_validator(mode="after")
    def _is_a_refresh(self) -> Self:
        if (self.api_version, self.kind) != (API_VERSION, KIND):
            raise ValueError(f"this is a {self.api_version} {self.kind}; expected {API_VERSION} {KIND}")
        return self

    def order(self) -> Order:
        """Return the order that this file gives when it is run without a cluster."""
        return Order(refresh=RefreshRef(name=self.metadata.name, namespace=self.metadata.namespace), spec=self.spec)


class ExitCode(IntEnum):
    """A runner's exit codes, a contract with the Job's podFailurePolicy."""

    OK = 0
    """Succeeded, warned or skipped."""
    FAILED = 1
    """Final: another attempt would not help, or there is none left."""
    USAGE = 2
    """The command line or the order is wrong; final."""
    RETRY = 75
    """Worth another attempt (sysexits.h: EX_TEMPFAIL)."""
    INTERRUPTED = 143
    """Ended from outside by SIGTERM; costs no attempt."""
