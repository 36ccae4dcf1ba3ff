"""How to reach the warehouse: read from its Secret in a pod, from libpq's variables on a laptop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from refresh_runner.secrets import SecretFolder, SecretMissingError

NEEDED: Final = ("host", "dbname", "user", "password")


@dataclass(frozen=True)
class Access:
    """Address and credentials of a PostgreSQL database."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    sslmode: str = "prefer"
    sslrootcert: Path | None = None

    @property
    def place(self) -> str:
        """Where it is, for messages: no credentials."""
        return f"{self.dbname} at {self.host}:{self.port}"


NOWHERE: Final = Access(host="localhost", port=5432, dbname="warehouse", user="nobody", password="unused")  # noqa: S106 - as it says
"""A warehouse that nobody connects to: dbt wants one even to read a project."""


def missing_keys(secret: Mapping[str, str]) -> list[str]:
    """Return the needed keys that a warehouse's Secret lacks."""
    return [key for key in NEEDED if not secret.get(key)]


def from_secret(name: str, folder: SecretFolder) -> Access:
    """Return the access of a mounted Secret; SecretMissingError names what is not there, ValueError a bad port."""
    secret = folder.all_of(name)
    if not secret:
        raise SecretMissingError(f"the Secret {name!r} is not there")
    if missing := missing_keys(secret):
        raise SecretMissingError(f"the Secret {name!r} lacks {', '.join(missing)}")
    return Access(
        host=secret["host"],
        port=_port(secret.get("port", "5432")),
        dbname=secret["dbname"],
        user=secret["user"],
        password=secret["password"],
        sslmode=secret.get("sslmode", "prefer"),
        sslrootcert=folder.path(name, "sslrootcert"),
    )


def from_variables(variables: Mapping[str, str]) -> Access:
    """Return the access that PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE and PGSSLROOTCERT name."""
    needed = ("PGUSER", "PGPASSWORD")
    if missing := [name for name in needed if not variables.get(name)]:
        raise SecretMissingError(f"set {', '.join(missing)}, or give the folder of the Secrets by --secrets")
    certificate = variables.get("PGSSLROOTCERT")
    return Access(
        host=variables.get("PGHOST", "localhost"),
        port=_port(variables.get("PGPORT", "5432")),
        dbname=variables.get("PGDATABASE") or variables["PGUSER"],
        user=variables["PGUSER"],
        password=variables["PGPASSWORD"],
        sslmode=variables.get("PGSSLMODE", "prefer"),
        sslrootcert=Path(certificate) if certificate else None,
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"the warehouse's port must be a number between 1 and 65535, not {text!r}")
    return int(text)
