"""A refresh as the page sees it: parsed once from what the API server sends, and forgiving towards versions that know more fields."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, ConfigDict

from refresh_api.model import Model
from refresh_api.objects import Json, readable, unreadable
from refresh_api.status import RefreshStatus


class _Lenient(Model):
    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True, order=True)
class Ref:
    """Which refresh."""

    namespace: str
    name: str


class FreshnessSpec(_Lenient):
    """How old the data may become."""

    max_staleness: str | None = None


class MartSpec(_Lenient):
    """A mart that is validated."""

    relation: str


class ValidationSpec(_Lenient):
    """The marts that are validated."""

    marts: tuple[MartSpec, ...] = ()


class SpecView(_Lenient):
    """The part of the spec that is shown."""

    title: str | None = None
    schedule: str = ""
    time_zone: str = "Etc/UTC"
    suspend: bool = False
    freshness: FreshnessSpec | None = None
    validation: ValidationSpec | None = None


class _Metadata(_Lenient):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    creation_timestamp: AwareDatetime = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Refresh:
    """One DashboardRefresh, in one of its versions."""

    ref: Ref
    version: str
    """Changes with every change of the object."""
    created: datetime
    spec: SpecView
    status: RefreshStatus
    parse_error: str = ""
    """Why spec and status can't be shown; empty as a rule."""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.spec.title or self.ref.name


def ref_of(item: Json) -> Ref:
    """Return which refresh an object of the API server is; ValueError where nobody can tell."""
    metadata, _ = readable(_Metadata, item.get("metadata"))
    if not metadata.name or not metadata.namespace:
        raise ValueError("an object without a name")
    return Ref(metadata.namespace, metadata.name)


def refresh_of(item: Json) -> Refresh:
    """Return the refresh; what can't be read of its spec and status is said in `unreadable`. ValueError where it has no name."""
    ref = ref_of(item)
    left_out = [f"{path} {why}" for path, why in unreadable(item).items()]
    parts: dict[str, str] = {}
    metadata, parts["metadata"] = readable(_Metadata, item.get("metadata"))
    wanted, parts["spec"] = readable(SpecView, item.get("spec", {}))
    status, parts["status"] = readable(RefreshStatus, item.get("status", {}))
    said = [*left_out, *(f"{path}.{wrong}" for path, wrong in parts.items() if wrong)]
    return Refresh(ref, metadata.resource_version, metadata.creation_timestamp, wanted, status, said[0] if said else "")
