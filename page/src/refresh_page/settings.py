"""What the page is told at its start, by its chart's environment variables; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ACCOUNT_PATH: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it."""


@dataclass(frozen=True)
class Settings:
    """One page's settings; fixed while it runs."""

    namespaces: tuple[str, ...]
    """Namespaces to watch; none: the whole cluster."""
    api_server: str
    """Address of the API server, or of a `kubectl proxy` outside of a cluster."""
    account: Path
    """Folder with the ServiceAccount's token and ca.crt, read anew at each connection."""
    warehouse: Path | None
    """Folder with the read-only Secret, a file a key, read anew at each connection; None: no log tables."""
    host: str
    port: int
    base_path: str
    """What a proxy in front puts before every path, for example /refreshes; empty as a rule."""
    hosts: tuple[str, ...] = ()
    """Names by which readers ask for it; none: any."""


def settings_from(variables: Mapping[str, str]) -> Settings:
    """Return the settings; SettingsError says which variable is missing or wrong."""
    clusterwide = variables.get("WATCH_CLUSTER_WIDE", "") == "true"
    namespaces = tuple(name for name in variables.get("WATCH_NAMESPACES", "").replace(",", " ").split() if name)
    if clusterwide == bool(namespaces):
        raise SettingsError("set either WATCH_NAMESPACES or WATCH_CLUSTER_WIDE=true")
    port = variables.get("PORT", "4200")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"PORT: {port} is no port")
    base_path = variables.get("BASE_PATH", "").rstrip("/")
    if base_path and not base_path.startswith("/"):
        raise SettingsError("BASE_PATH begins with a /")
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
        raise SettingsError("outside of a cluster, set API_SERVER to what `kubectl proxy` prints, for example http://127.0.0.1:8001")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
