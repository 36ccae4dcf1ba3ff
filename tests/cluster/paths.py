"""Where things are: this checkout, its state, and the cache that all checkouts share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The three roots of everything that the launcher reads and writes."""

    checkout: Path
    state: Path
    cache: Path

    @property
    def clusters(self) -> Path:
        """One folder a cluster."""
        return self.state / "clusters"

    @property
    def images(self) -> Path:
        """Image archives, and the store that they are built in."""
        return self.state / "images"

    @property
    def tools(self) -> Path:
        """`kubectl` and `helm`, for the PATH of a person."""
        return self.state / "bin"


def paths_of(environment: Mapping[str, str], checkout: Path | None = None) -> Paths:
    """The paths of a checkout: this one unless another is named."""
    root = checkout or Path(__file__).resolve().parents[2]
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dashboard-refresh"
    return Paths(root, root / ".state", cache)
