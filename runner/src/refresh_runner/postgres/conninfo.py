"""How to reach the warehouse: read from its Secret in a pod, from libpq's variables on a laptop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from refresh_runner.core.secrets import SecretFolder, SecretMissingError, is_text

REQUIRED_KEYS: Final = ("host", "dbname", "user", "password")
_TEXTS: Final = (*REQUIRED_KEYS, "port", "sslmode", "sslrootcert")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM_CERTIFICATES: Final = Path("system")
"""In the place of certificates: those that the system trusts (libpq's own word for it)."""


@dataclass(frozen=True)
class ConnectionInfo:
    """Address and credentials of a PostgreSQL database."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    sslmode: str = "prefer"
    sslrootcert: Path | None = None

    @property
    def address(self) -> str:
        """Where it is, for messages: no credentials."""
        return f"{self.dbname} at {self.host}:{self.port}"


PLACEHOLDER: Final = ConnectionInfo(host="localhost", port=5432, dbname="refresh_nowhere", user="nobody", password="unused")  # noqa: S106 - as it says
"""A warehouse that nobody connects to: dbt wants one even to read a project."""


def missing_keys(secret: Mapping[str, str]) -> list[str]:
    """Return the needed keys that a warehouse's Secret lacks."""
    return [key for key in REQUIRED_KEYS if not secret.get(key)]


def from_secret(name: str, folder: SecretFolder) -> ConnectionInfo:
    """Return the access of a mounted Secret; SecretMissingError names what is not there, ValueError a bad port."""
    secret = folder.read_all(name)
    if not secret:
        raise SecretMissingError(f"the Secret {name!r} is not there")
    if missing := missing_keys(secret):
        raise SecretMissingError(f"the Secret {name!r} lacks {', '.join(missing)}")
    if binary := [key for key in _TEXTS if not is_text(secret.get(key, ""))]:
        raise SecretMissingError(f"the Secret {name!r} holds in {', '.join(binary)} what is no text (UTF-8)")
    if unfit := [key for key in REQUIRED_KEYS[:3] if not secret[key].isprintable()]:
        raise SecretMissingError(f"the Secret {name!r} holds in {', '.join(unfit)} more than one line of printable characters")
    certificates = _certificates(name, secret.get("sslrootcert", "").strip(), folder)
    return ConnectionInfo(
        host=secret["host"],
        port=_port(secret.get("port", "5432")),
        dbname=secret["dbname"],
        user=secret["user"],
        password=secret["password"],
        sslmode=_ssl_mode(secret.get("sslmode", "").strip(), certificates),
        sslrootcert=certificates,
    )


def from_variables(variables: Mapping[str, str]) -> ConnectionInfo:
    """Return the access that PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE and PGSSLROOTCERT name."""
    needed = ("PGUSER", "PGPASSWORD")
    if missing := [name for name in needed if not variables.get(name)]:
        raise SecretMissingError(f"set {', '.join(missing)}, or give the folder of the Secrets by --secrets")
    certificate = Path(variables["PGSSLROOTCERT"]) if variables.get("PGSSLROOTCERT") else None
    return ConnectionInfo(
        host=variables.get("PGHOST", "localhost"),
        port=_port(variables.get("PGPORT", "5432")),
        dbname=variables.get("PGDATABASE") or variables["PGUSER"],
        user=variables["PGUSER"],
        password=variables["PGPASSWORD"],
        sslmode=_ssl_mode(variables.get("PGSSLMODE", ""), certificate),
        sslrootcert=certificate,
    )


def _certificates(name: str, content: str, folder: SecretFolder) -> Path | None:
    """Return the file with the certificates that are trusted: the key's own, one that it names, or the word for the system's."""
    if content == str(SYSTEM_CERTIFICATES):
        return SYSTEM_CERTIFICATES
    if content.startswith("/") and "\n" not in content:
        if not Path(content).is_file():
            raise SecretMissingError(f"the key sslrootcert of the Secret {name!r} is a path, and there is no such file here")
        return Path(content)
    return folder.path(name, "sslrootcert") if content else None


def _ssl_mode(wanted: str, certificates: Path | None) -> str:
    """Return how far the server is checked. With the system's certificates that is wholly: anybody may have one of them."""
    if wanted and wanted not in _SSL_MODES:
        raise ValueError(f"the warehouse's sslmode must be one of {', '.join(_SSL_MODES)}")
    if certificates == SYSTEM_CERTIFICATES:
        if wanted not in ("", "verify-full"):
            raise ValueError(f"sslrootcert: system needs sslmode verify-full, not {wanted}: leave sslmode out, or set that")
        return "verify-full"
    return wanted or "prefer"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        # Not the text itself: whoever mixes up the keys of a Secret has a password there.
        raise ValueError("the warehouse's port must be a number between 1 and 65535")
    return int(text)
