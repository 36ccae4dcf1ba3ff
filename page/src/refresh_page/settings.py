"""Parses the page's settings from environment variables, which the chart sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ACCOUNT_PATH: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class SettingsError(ValueError):
    """A setting is missing or invalid; the message names it."""


@dataclass(frozen=True)
class Settings:
    """The settings of one page process."""

    namespaces: tuple[str, ...]
    """Namespaces to watch; empty for the whole cluster."""
    api_server: str
    """URL of the API server, or of a `kubectl proxy` outside the cluster."""
    account: Path
    """Directory with the ServiceAccount's token and ca.crt, read for each connection."""
    warehouse: Path | None
    """Directory of the mounted Secret, one file per key, read for each connection; None to do without the run log."""
    host: str
    port: int
    base_path: str
    """Path prefix that a reverse proxy adds, for example /refreshes; usually empty."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may use; empty for any."""


def settings_from(variables: Mapping[str, str]) -> Settings:
    """Return the settings. Raise SettingsError, which names the variable that is missing or invalid."""
    clusterwide = variables.get("WATCH_CLUSTER_WIDE", "") == "true"
    namespaces = tuple(name for name in variables.get("WATCH_NAMESPACES", "").replace(",", " ").split() if name)
    if clusterwide == bool(namespaces):
        raise SettingsError("set either WATCH_NAMESPACES or WATCH_CLUSTER_WIDE=true")
    port = variables.get("PORT", "4200")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"PORT: {port} is not a port number")
    base_path = variables.get("BASE_PATH", "").rstrip("/")
    if base_path and not base_path.startswith("/"):
        raise SettingsError("BASE_PATH must start with /")
    folder = variables.get("WAREHOUSE_PATH", "")
    return Settings(
        namespaces=namespaces,
        api_server=_api_server(variables),
        account=Path(variables.get("SERVICE_ACCOUNT_PATH") or ACCOUNT_PATH),
        warehouse=Path(folder) if folder else None,
        host=variables.get("HOST", "127.0.0.1"),
        port=int(port),
        base_path=base_path,
        hosts=tuple(variables.get("HOSTS", "").replace(",", " ").lower().split()),
    )


def _api_server(variables: Mapping[str, str]) -> str:
    if url := variables.get("API_SERVER"):
        return url.rstrip("/")
    host, port = variables.get("KUBERNETES_SERVICE_HOST"), variables.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise SettingsError(
            "outside a cluster, set API_SERVER to the address that `kubectl proxy` prints, for example http://127.0.0.1:8001"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
