"""Versions of Kubernetes for the embedded cluster: `kubernetes/go.mod` has the default, `kubernetes/versions/` the others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

VARIABLE = "REFRESH_KUBERNETES"
_MODULE = Path(__file__).resolve().parent / "kubernetes"


@dataclass(frozen=True)
class KubernetesVersion:
    """A version, like 1.35.4, and the go.mod that names it."""

    version: str
    modfile: Path

    @property
    def minor(self) -> str:
        """The version without its patch number."""
        return self.version.rpartition(".")[0]

    def is_at_least(self, major: int, minor: int) -> bool:
        """Return whether this is that minor version or a newer one."""
        return tuple(int(part) for part in self.minor.split(".")) >= (major, minor)


def default() -> KubernetesVersion:
    """Return the version of demo and tests."""
    return _read(_MODULE / "go.mod")


def available() -> dict[str, KubernetesVersion]:
    """Return all versions by their minor version, oldest first."""
    found = [default(), *map(_read, (_MODULE / "versions").glob("*.mod"))]
    return {each.minor: each for each in sorted(found, key=lambda each: [int(part) for part in each.version.split(".")])}


def chosen(environment: Mapping[str, str]) -> KubernetesVersion:
    """Return the version that REFRESH_KUBERNETES names, like 1.33. Defaults to that of go.mod; ClusterError for an unknown one."""
    wish = environment.get(VARIABLE, "")
    if not wish:
        return default()
    if wish not in (found := available()):
        raise ClusterError(f"{VARIABLE}={wish} is not available", f"choose one of {', '.join(found)}")
    return found[wish]


def cluster_name(name: str, environment: Mapping[str, str]) -> str:
    """Return the name of a cluster's folder: clusters of several versions are side by side."""
    version = chosen(environment)
    return name if version == default() else f"{name}-{version.minor.replace('.', '-')}"


def _read(modfile: Path) -> KubernetesVersion:
    found = re.search(r"^\s*k8s\.io/kubernetes v(\S+)$", modfile.read_text(), re.MULTILINE)
    assert found, f"{modfile} does not require k8s.io/kubernetes"
    return KubernetesVersion(found[1], modfile)
