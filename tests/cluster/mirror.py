"""Settings of this machine's package mirrors, passed to image builds as files that are not stored in a layer."""

import configparser
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_KEPT = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries", "proxy")
_CA_IN_BUILD = "/run/secrets/ca"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Mirror:
    """pip's settings for a build, the certificate bundle, and the proxies, which builders take as arguments."""

    pip_conf: str
    ca: Path | None
    proxies: tuple[tuple[str, str], ...]


def parse_pip_config(listing: str) -> dict[str, str]:
    """Return the settings in the output of `pip config list`; those of the environment override those of files."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, quoted = line.partition("=")
        place, _, key = name.rpartition(".")
        if place in ("global", "install", ":env:"):
            found[key.replace("default-", "")] = quoted.strip().strip("'")
    return found


def mirror_of(settings: Mapping[str, str], environment: Mapping[str, str]) -> Mirror:
    """Return the settings that are valid in a build: without paths of this machine, except the certificate bundle, which is mounted."""
    certificates = settings.get("cert") or environment.get("SSL_CERT_FILE")
    ca = Path(certificates) if certificates and Path(certificates).is_file() else None
    config = configparser.RawConfigParser()
    config["global"] = {key: settings[key] for key in _KEPT if settings.get(key)}
    if ca:
        config["global"]["cert"] = _CA_IN_BUILD
    text = io.StringIO()
    config.write(text)
    return Mirror(text.getvalue(), ca, tuple((name, environment[name]) for name in PROXIES if environment.get(name)))
