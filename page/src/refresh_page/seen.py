"""A refresh as the page sees it: parsed once from what the API server sends, and forgiving towards versions that know more fields."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from refresh_api.model import Model
from refresh_api.status import RefreshStatus

Json = dict[str, object]


class _Lenient(Model):
    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True, order=True)
class Ref:
    """Which refresh."""

    namespace: str
    name: str


class Freshness(_Lenient):
    """How old the data may become."""

    max_staleness: str | None = None


class Mart(_Lenient):
    """A mart that is validated."""

    relation: str


class Validation(_Lenient):
    """The marts that are validated."""

    marts: tuple[Mart, ...] = ()


class Wanted(_Lenient):
    """The part of the spec that is shown."""

    title: str | None = None
    schedule: str = ""
    time_zone: str = "Etc/UTC"
    suspend: bool = False
    freshness: Freshness | None = None
    validation: Validation | None = None


class _Metadata(_Lenient):
    name: str
    namespace: str
    resource_version: str
    creation_timestamp: AwareDatetime


class _Item(_Lenient):
    metadata: _Metadata
    spec: Wanted = Wanted()
    status: RefreshStatus = Field(default=RefreshStatus())


@dataclass(frozen=True, eq=False)
class Refresh:
    """One DashboardRefresh, in one of its versions."""

    ref: Ref
    version: str
    """Changes with every change of the object."""
    created: datetime
    wanted: Wanted
    status: RefreshStatus
    unreadable: str = ""
    """Why spec and status can't be shown; empty as a rule."""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.wanted.title or self.ref.name


def ref_of(item: Json) -> Ref:
    """Return which refresh an object of the API server is."""
    metadata = item["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError("an object without metadata")
    return Ref(str(metadata["namespace"]), str(metadata["name"]))


def refresh_of(item: Json) -> Refresh:
    """Return the refresh; one whose spec or status can't be read says so in `unreadable`."""
    try:
        parsed = _Item.model_validate(item, extra="ignore")
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        bare = _Item.model_validate({"metadata": item["metadata"]}, extra="ignore")
        return _refresh(bare, f"{where}: {error.errors()[0]['msg']}")
    return _refresh(parsed)


def _refresh(item: _Item, unreadable: str = "") -> Refresh:
    metadata = item.metadata
    ref = Ref(metadata.namespace, metadata.name)
    return Refresh(ref, metadata.resource_version, metadata.creation_timestamp, item.spec, item.status, unreadable)
