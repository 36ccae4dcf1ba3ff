"""Parses DashboardRefreshes from the API server, and ignores fields of newer versions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import AwareDatetime, ConfigDict, Field

from refresh_api.model import Model
from refresh_api.objects import Json, readable, unreadable
from refresh_api.spec import DEFAULT_WAIT, LockPolicy
from refresh_api.status import RefreshStatus


class Lenient(Model):
    """A part of an object, without the fields that a newer version added."""

    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True, order=True)
class Ref:
    """Namespace and name of a refresh."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return `namespace/name`, by which `H` in a schedule is resolved."""
        return f"{self.namespace}/{self.name}"


class FreshnessSpec(Lenient):
    """The limit on the age of the data."""

    max_staleness: str | None = None


class MartSpec(Lenient):
    """A mart to validate."""

    relation: str


class ValidationSpec(Lenient):
    """The marts to validate."""

    marts: tuple[MartSpec, ...] = ()


class GitSpec(Lenient):
    """A Git repository with a dbt project."""

    url: str = ""
    path: str = "."


class SourceSpec(Lenient):
    """A source of Flux with a dbt project."""

    kind: str = ""
    name: str = ""
    path: str = "."


class ProjectSpec(Lenient):
    """Where the dbt project comes from."""

    git: GitSpec | None = None
    source_ref: SourceSpec | None = None


class SecretView(Lenient):
    """A Secret in the namespace of the refresh."""

    name: str = ""


class WarehouseSpec(Lenient):
    """The warehouse in which dbt builds."""

    secret_ref: SecretView = SecretView()


class LockSpec(Lenient):
    """What a run does while another run holds the warehouse lock."""

    policy: str = LockPolicy.WAIT
    wait_timeout: str = DEFAULT_WAIT


class SpecView(Lenient):
    """The fields of the spec that the page shows."""

    display_name: str | None = None
    schedule: str = ""
    time_zone: str = "Etc/UTC"
    suspend: bool = False
    warehouse: WarehouseSpec = WarehouseSpec()
    lock: LockSpec = LockSpec()
    freshness: FreshnessSpec | None = None
    validation: ValidationSpec | None = None
    image: str | None = None
    project: ProjectSpec | None = None


class ObjectMetadata(Lenient):
    """The metadata that the page needs."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: AwareDatetime = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Refresh:
    """One DashboardRefresh at one resourceVersion."""

    ref: Ref
    version: str
    """The resourceVersion."""
    created: datetime
    spec: SpecView
    status: RefreshStatus
    parse_error: str = ""
    """Why parts of the spec or status cannot be shown; empty if all of it was parsed."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the display name, or else the name."""
        return self.spec.display_name or self.ref.name

    @property
    def project(self) -> str:
        """Return what names the dbt project: an address and a folder, a source of Flux, or an image without its tag; else empty.

        Empty stands for the project in the chart's image of the runner.
        """
        project = self.spec.project or ProjectSpec()
        if git := project.git:
            return _with_folder(git.url, git.path)
        if source := project.source_ref:
            return _with_folder(f"{source.kind}/{self.ref.namespace}/{source.name}", source.path)
        return re.sub(r"(?::[^/:@]*)?(?:@.*)?$", "", self.spec.image or "", count=1)


def _with_folder(origin: str, path: str) -> str:
    return origin if path in ("", ".") else f"{origin} {path}"


def ref_of(item: Json) -> Ref:
    """Return namespace and name of an object. Raise ValueError if it has none."""
    metadata, _ = readable(ObjectMetadata, item.get("metadata"))
    if not metadata.name or not metadata.namespace:
        raise ValueError("it has no name or namespace")
    return Ref(metadata.namespace, metadata.name)


def refresh_of(item: Json) -> Refresh:
    """Return the refresh. `parse_error` names the first field that could not be parsed. Raise ValueError if the object has no name."""
    ref = ref_of(item)
    dropped = [f"{path} {why}" for path, why in unreadable(item).items()]
    parts: dict[str, str] = {}
    metadata, parts["metadata"] = readable(ObjectMetadata, item.get("metadata"))
    spec, parts["spec"] = readable(SpecView, item.get("spec", {}))
    status, parts["status"] = readable(RefreshStatus, item.get("status", {}))
    errors = [*dropped, *(f"{path}.{wrong}" for path, wrong in parts.items() if wrong)]
    return Refresh(ref, metadata.resource_version, metadata.creation_timestamp, spec, status, errors[0] if errors else "", metadata.labels)
