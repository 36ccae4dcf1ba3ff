"""The connection parameters of the warehouse: from its Secret in a pod, from libpq's environment variables on a laptop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from refresh_api.names import WAREHOUSE_KEYS
from refresh_runner.core.secrets import SecretFolder, SecretMissingError, is_text

_TEXTS: Final = (*WAREHOUSE_KEYS, "port", "sslmode", "sslrootcert")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM_CERTIFICATES: Final = Path("system")
"""libpq's keyword for the certificates that the operating system trusts."""


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
        """Database, host and port for messages, without credentials."""
        return f"{self.dbname} at {self.host}:{self.port}"


PLACEHOLDER: Final = ConnectionInfo(host="localhost", port=5432, dbname="refresh_nowhere", user="nobody", password="unused")  # noqa: S106 - no real password
"""Placeholder for parsing a project, for which dbt requires connection parameters. Nothing connects to it."""


def missing_keys(secret: Mapping[str, str]) -> list[str]:
    """Return the required keys that are missing or empty in a warehouse's Secret."""
    return [key for key in WAREHOUSE_KEYS if not secret.get(key)]


def from_secret(name: str, folder: SecretFolder) -> ConnectionInfo:
    """Read a mounted Secret. Raise SecretMissingError for missing or malformed keys, ValueError for a bad port or sslmode."""
    secret = folder.read_all(name)
    if not secret:
        raise SecretMissingError(f"the Secret {name!r} does not exist")
    if missing := missing_keys(secret):
        raise SecretMissingError(f"the Secret {name!r} lacks {', '.join(missing)}")
    if binary := [key for key in _TEXTS if not is_text(secret.get(key, ""))]:
        raise SecretMissingError(f"the Secret {name!r} has a value that is not UTF-8 text in {', '.join(binary)}")
    if unfit := [key for key in WAREHOUSE_KEYS[:3] if not secret[key].isprintable()]:
        raise SecretMissingError(f"the Secret {name!r} has a value that is not one line of printable characters in {', '.join(unfit)}")
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
    """Read PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE and PGSSLROOTCERT; raise as `from_secret` does."""
    needed = ("PGUSER", "PGPASSWORD")
    if missing := [name for name in needed if not variables.get(name)]:
        raise SecretMissingError(f"set {', '.join(missing)}, or pass the folder of the Secrets with --secrets")
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
    """Return the file of trusted certificates: the key itself, a path that it contains, or SYSTEM_CERTIFICATES."""
    if content == str(SYSTEM_CERTIFICATES):
        return SYSTEM_CERTIFICATES
    if content.startswith("/") and "\n" not in content:
        if not Path(content).is_file():
            raise SecretMissingError(f"the key sslrootcert of the Secret {name!r} is a path to a file that does not exist")
        return Path(content)
    return folder.path(name, "sslrootcert") if content else None


def _ssl_mode(wanted: str, certificates: Path | None) -> str:
    """Return the sslmode. With the system's certificates it is verify-full, because anybody can get a certificate that they trust."""
    if wanted and wanted not in _SSL_MODES:
        raise ValueError(f"sslmode of the warehouse must be one of {', '.join(_SSL_MODES)}")
    if certificates == SYSTEM_CERTIFICATES:
        if wanted not in ("", "verify-full"):
            raise ValueError(f"sslrootcert system requires sslmode verify-full, not {wanted}: remove sslmode or set it to verify-full")
        return "verify-full"
    return wanted or "prefer"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        # Do not quote the value: if the keys of the Secret are mixed up, it is the password.
        raise ValueError("port of the warehouse must be a number between 1 and 65535")
    return int(text)
