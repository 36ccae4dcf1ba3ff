"""Secrets: read from folders, and kept out of everything that leaves the runner."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refresh_api.redaction import MASK, Redactor, known_values, secret_values
from refresh_api.spec import RefreshSpec

__all__ = ["MASK", "Redactor", "SecretFolder", "SecretMissingError", "header_problem", "is_text", "redactor", "secret_values"]

_DBT_SECRET: Final = "DBT_ENV_SECRET"  # noqa: S105 - a prefix
"""Begin of the names of variables that dbt treats as secrets."""
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})


class SecretMissingError(LookupError):
    """A Secret or a key of it is not there, or is not what it should be; the message names it, never a value."""


@dataclass(frozen=True)
class SecretFolder:
    """Secrets as Kubernetes mounts them: a folder a Secret, a file a key."""

    root: Path | None

    def path(self, name: str, key: str) -> Path | None:
        """Return the file of a key; None if it is not there."""
        path = self.root / name / key if self.root else None
        return path if path and path.is_file() else None

    def read_all(self, name: str) -> dict[str, str]:
        """Return the keys and values of a Secret, empty if it is not there; a trailing line break is no part of a value.

        Of a value that is no text, each byte that is not UTF-8 is a surrogate: `is_text` tells, and nobody has to use that key.
        """
        folder = self.root / name if self.root else None
        if folder is None or not folder.is_dir():
            return {}
        return {path.name: _read(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="surrogateescape").rstrip("\r\n")
    except OSError as error:
        raise SecretMissingError(f"the key {path.name!r} of the Secret {path.parent.name!r} can't be read: {error.strerror}") from None


def is_text(value: str) -> bool:
    """Return whether a value is text that a program may be given."""
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


def header_problem(value: str) -> str | None:
    """Return why a value can't stand in a header of HTTP, in words that do not quote it; None if it can."""
    if value and value.isascii() and value.isprintable() and value == value.strip():
        return None
    return "is not one line of printable ASCII characters, as a header has to be"


def redactor(spec: RefreshSpec, secrets: Mapping[str, Mapping[str, str]], variables: Mapping[str, str], token: Path) -> Redactor:
    """Return what takes out of texts all that a run is told and nobody may see: Secrets, secret variables, its account's token."""
    single = set(spec.single_keys)
    named = [value for name, value in variables.items() if name == "PGPASSWORD" or name.startswith(_DBT_SECRET)]
    # Of a proxy's address nothing is secret but whom it lets in.
    proxies = [value for name, value in variables.items() if name.upper() in _PROXIES and "@" in value]
    held = [token.read_text(errors="replace")] if token.is_file() else []
    return Redactor([*secret_values(secrets, single), *named, *proxies, *held], known_values(secrets))
