"""The kind of a cluster, recorded in its folder, so that another kind does not treat the folder as its own remains."""

from hashlib import sha256
from pathlib import Path

from cluster.errors import ClusterError

_FILE = "kind"


def record_kind(home: Path, kind: str) -> None:
    """Write the kind into a cluster's folder, before anything is created outside the folder."""
    home.mkdir(parents=True, exist_ok=True)
    (home / _FILE).write_text(kind)


def recorded_kind(home: Path) -> str:
    """Return the kind of the cluster in a folder; empty if there is none."""
    file = home / _FILE
    return file.read_text() if file.exists() else ""


def kind_for(home: Path, wish: str, otherwise: str) -> str:
    """Return the kind of the cluster in a folder: the recorded one, else `wish`, else `otherwise`. Raise if record and wish differ."""
    made = recorded_kind(home)
    if made and wish and made != wish:
        raise ClusterError(f"the cluster {home.name} of this checkout is of kind {made}, not {wish}", "`make clean` removes it")
    return made or wish or otherwise


def name_in_docker(state: Path, name: str) -> str:
    """Return the name of a kind cluster: it begins with that of its checkout, so that one without a folder is recognised, too."""
    return f"{prefix_in_docker(state)}{name.lower()}"


def prefix_in_docker(state: Path) -> str:
    """Return what the names of all kind clusters of a checkout begin with."""
    return f"refresh-{sha256(str(state).encode()).hexdigest()[:10]}-"
