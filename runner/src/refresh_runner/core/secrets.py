"""Reads Secrets from mounted folders, and keeps their values out of everything that leaves the runner."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refresh_api.fields import SecretKeyRef
from refresh_api.redaction import MASK, Redactor, known_values, secret_values
from refresh_api.spec import RefreshSpec
from refresh_api.tracing import HEADERS_VARIABLES, pairs

__all__ = ["MASK", "Redactor", "SecretFolder", "SecretMissingError", "header_value", "is_text", "redactor", "secret_values"]

_DBT_SECRET: Final = "DBT_ENV_SECRET"  # noqa: S105 - a prefix
"""Prefix of the environment variables that dbt treats as secrets."""
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})


class SecretMissingError(LookupError):
    """A Secret or one of its keys is missing or malformed. The message names it, but never quotes a value."""


@dataclass(frozen=True)
class SecretFolder:
    """Secrets as Kubernetes mounts them: one folder per Secret, one file per key."""

    root: Path | None

    def path(self, name: str, key: str) -> Path | None:
        """Return the file of a key; None if it does not exist."""
        path = self.root / name / key if self.root else None
        return path if path and path.is_file() else None

    def read_all(self, name: str) -> dict[str, str]:
        """Return the keys and values of a Secret, without trailing line breaks; empty if it does not exist.

        Bytes that are not UTF-8 become surrogates instead of an error, because the key may not be needed; see `is_text`.
        """
        folder = self.root / name if self.root else None
        if folder is None or not folder.is_dir():
            return {}
        return {path.name: _read(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="surrogateescape").rstrip("\r\n")
    except OSError as error:
        raise SecretMissingError(f"cannot read the key {path.name!r} of the Secret {path.parent.name!r}: {error.strerror}") from None


def is_text(value: str) -> bool:
    """Return whether a value is valid text for an environment variable: UTF-8 without NUL."""
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


def header_value(secrets: Mapping[str, Mapping[str, str]], reference: SecretKeyRef | None) -> tuple[str | None, str | None]:
    """Return the value of an HTTP header from a Secret, None without a reference; and why it cannot be used, without quoting it."""
    if reference is None:
        return None, None
    value = secrets.get(reference.name, {}).get(reference.key)
    if not value:
        return None, f"the Secret {reference.name!r} has no key {reference.key!r}"
    if value.isascii() and value.isprintable() and value == value.strip():
        return value, None
    where = f"the key {reference.key!r} of the Secret {reference.name!r}"
    return None, f"{where} is not one line of printable ASCII characters, as an HTTP header must be"


def redactor(spec: RefreshSpec, secrets: Mapping[str, Mapping[str, str]], variables: Mapping[str, str], token: Path) -> Redactor:
    """Return the redactor of a run. It masks the values of Secrets and secret variables, and the service account's token."""
    single = set(spec.single_keys)
    named = [value for name, value in variables.items() if name == "PGPASSWORD" or name.startswith(_DBT_SECRET)]
    headers = [variables.get(name, "") for name in HEADERS_VARIABLES]
    if spec.tracing:
        headers.append(secrets.get(spec.tracing.headers_secret_ref.name, {}).get(spec.tracing.headers_secret_ref.key, ""))
    named += [value for text in headers for value in (text, *dict(pairs(text)).values())]
    # A proxy's address is secret only if it contains credentials.
    proxies = [value for name, value in variables.items() if name.upper() in _PROXIES and "@" in value]
    held = [token.read_text(errors="replace")] if token.is_file() else []
    return Redactor([*secret_values(secrets, single), *named, *proxies, *held], known_values(secrets))
