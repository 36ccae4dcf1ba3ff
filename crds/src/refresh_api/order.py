"""What one pod is told: the order, frozen when its Job was made; and the codes by which it answers."""

from enum import IntEnum
from typing import Self

from pydantic import ConfigDict, model_validator

from refresh_api.model import Model
from refresh_api.names import API_VERSION, KIND
from refresh_api.spec import RefreshSpec


class RefreshRef(Model):
    """Which refresh: the coordinates of the resource; no uid outside a cluster."""

    name: str
    namespace: str = "default"
    uid: str | None = None


class Order(Model):
    """One refresh to run, pinned to a generation of its spec."""

    refresh: RefreshRef
    generation: int = 0
    spec: RefreshSpec

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
