"""Paths of this checkout, its state, and the cache that all checkouts share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The folders that the launcher reads and writes."""

    checkout: Path
    state: Path
    cache: Path

    @property
    def clusters(self) -> Path:
        """Folder with one folder per cluster."""
        return self.state / "clusters"

    @property
    def images(self) -> Path:
        """Folder with image archives and the store of the builder."""
        return self.state / "images"

    @property
    def tools(self) -> Path:
        """Folder with `kubectl` and `helm`, for a user's PATH."""
        return self.state / "bin"


def paths_of(environment: Mapping[str, str], checkout: Path | None = None) -> Paths:
    """Return the paths of a checkout. Defaults to this one."""
    root = checkout or Path(__file__).resolve().parents[2]
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dashboard-refresh"
    return Paths(root, root / ".state", cache)
