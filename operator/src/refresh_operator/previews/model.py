"""A RefreshPreview as the API server sends it, and what belongs to it at one moment; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from refresh_api.names import PREVIEW_KIND
from refresh_api.objects import Json, readable
from refresh_api.preview import PreviewSpec, PreviewStatus
from refresh_operator.denial import Denial
from refresh_operator.names import Ref, preview_name
from refresh_operator.state.kube_types import Job, Metadata, Pod, field_path, mapping, metadata_of
from refresh_operator.state.refresh import Refresh
from refresh_operator.state.snapshot import Pause


@dataclass(frozen=True)
class Preview:
    """A RefreshPreview. Its status is written by the operator until its pod reports."""

    metadata: Metadata
    spec: PreviewSpec | None
    """None if it is invalid."""
    status: PreviewStatus
    problem: str = ""
    """Why the spec is invalid."""

    @property
    def ref(self) -> Ref:
        """The namespace, name and kind."""
        return Ref(self.metadata.namespace, self.metadata.name, PREVIEW_KIND)

    @property
    def object_name(self) -> str:
        """Name of its Job and its permissions."""
        return preview_name(self.metadata.name, self.metadata.uid)


def parse_preview(raw: Json) -> Preview:
    """Return a preview from the API server's JSON. Raise Unreadable if its metadata have a field of a wrong type."""
    metadata = metadata_of(raw)
    status, _ = readable(PreviewStatus, mapping(raw.get("status")))
    try:
        return Preview(metadata, PreviewSpec.model_validate(raw.get("spec", {}), extra="ignore"), status)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        return Preview(metadata, None, status, f"{field_path('spec', first['loc'])}: {first['msg'].removeprefix('Value error, ')}")


@dataclass(frozen=True)
class PreviewSnapshot:
    """One preview and all that a decision about it needs."""

    preview: Preview
    refresh: Refresh | None = None
    """The refresh that it names; None if there is none."""
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    """The pods of its Job, oldest first."""
    others: tuple[Preview, ...] = ()
    """Other previews of the same refresh that have not ended."""
    denied_secrets: Mapping[str, str] = field(default_factory=dict)
    """Secrets that it would use and may not, each with the reason."""
    missing_secrets: tuple[str, ...] = ()
    """What is missing in the Secret of its warehouse."""
    denied_code: Denial | None = None
    """Why the image or the repository of the refresh, or the image of the preview, may not be used."""
    pause: Pause | None = None
