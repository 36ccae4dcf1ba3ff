"""The previews of refreshes: parsed from the API server, and held by the refresh that they belong to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from refresh_api.objects import Json, readable
from refresh_api.preview import PreviewStatus
from refresh_page.kube.models import Lenient, ObjectMetadata, Ref, ref_of


class _ChangeView(Lenient):
    branch: str | None = None
    tag: str | None = None
    semver: str | None = None
    commit: str | None = None


class _SpecView(Lenient):
    refresh: str = ""
    ref: _ChangeView = _ChangeView()


@dataclass(frozen=True, eq=False)
class Preview:
    """One RefreshPreview at one resourceVersion."""

    ref: Ref
    version: str
    created: datetime
    refresh: str
    """Name of the refresh, in the same namespace."""
    change: str
    """The branch, tag or commit, as the spec names it."""
    status: PreviewStatus


def preview_of(item: Json) -> Preview:
    """Return the preview, without what cannot be parsed. Raise ValueError if the object has no name."""
    metadata, _ = readable(ObjectMetadata, item.get("metadata"))
    spec, _ = readable(_SpecView, item.get("spec", {}))
    status, _ = readable(PreviewStatus, item.get("status", {}))
    change = spec.ref.branch or spec.ref.tag or spec.ref.semver or (spec.ref.commit or "")[:8]
    return Preview(ref_of(item), metadata.resource_version, metadata.creation_timestamp, spec.refresh, change, status)


class Previews:
    """All previews. Watches write it, request handlers read it."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._by_ref: dict[Ref, Preview] = {}

    def of(self, refresh: Ref) -> list[Preview]:
        """Return the previews of a refresh, newest first."""
        found = (each for each in self._by_ref.values() if Ref(each.ref.namespace, each.refresh) == refresh)
        return sorted(found, key=lambda each: (each.created, each.ref.name), reverse=True)

    def get(self, refresh: Ref, name: str) -> Preview | None:
        """Return a preview of a refresh; None if it does not exist."""
        found = self._by_ref.get(Ref(refresh.namespace, name))
        return found if found and found.refresh == refresh.name else None

    def version_of(self, refresh: Ref) -> str:
        """Return a version that changes with every change of a preview of a refresh."""
        return ",".join(each.version for each in self.of(refresh))

    def replace(self, namespace: str, previews: Iterable[Preview]) -> None:
        """Replace all previews of a namespace (empty: of the cluster)."""
        kept = {ref: each for ref, each in self._by_ref.items() if namespace not in ("", ref.namespace)}
        self._by_ref = kept | {each.ref: each for each in previews}
        self._notify()

    def put(self, preview: Preview) -> None:
        """Add or replace a preview."""
        self._by_ref[preview.ref] = preview
        self._notify()

    def remove(self, ref: Ref) -> None:
        """Remove a deleted preview."""
        if self._by_ref.pop(ref, None):
            self._notify()
