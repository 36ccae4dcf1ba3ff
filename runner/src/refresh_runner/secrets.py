"""Secrets: read from folders, and kept out of everything that leaves the runner."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

_SHORTEST: Final = 4
"""Shorter values are not looked for: masking every `no` or `5` would make messages unreadable and give the value away."""
MASK: Final = "***"


class SecretMissingError(LookupError):
    """A Secret or a key of it is not there; the message names it, never a value."""


@dataclass(frozen=True)
class SecretFolder:
    """Secrets as Kubernetes mounts them: a folder a Secret, a file a key."""

    root: Path | None

    def path(self, name: str, key: str) -> Path | None:
        """Return the file of a key; None if it is not there."""
        path = self.root / name / key if self.root else None
        return path if path and path.is_file() else None

    def all_of(self, name: str) -> dict[str, str]:
        """Return the keys and values of a Secret, empty if it is not there; a trailing line break is no part of a value."""
        folder = self.root / name if self.root else None
        if folder is None or not folder.is_dir():
            return {}
        return {path.name: path.read_text().rstrip("\r\n") for path in sorted(folder.iterdir()) if path.is_file()}


class Redactor:
    """Replaces secret values, in every form in which programs write them, by a mask."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        found = {form for value in values if len(value) >= _SHORTEST for form in _forms(value)}
        # The longest first: a form may hold another one.
        self._forms = sorted(found, key=len, reverse=True)

    @property
    def longest(self) -> int:
        """Characters of the longest form of a secret."""
        return len(self._forms[0]) if self._forms else 0

    def __call__(self, text: str) -> str:
        """Return the text without the secrets."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text


def _forms(value: str) -> set[str]:
    plain = {value, quote(value), quote(value, safe=""), quote_plus(value), value.replace("'", "''"), value.replace("'", "\\'")}
    plain |= {repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    # Texts that hold one of these forms are themselves written as JSON in logs and status.
    return plain | {json.dumps(form)[1:-1] for form in plain}


def secret_values(secrets: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return what must not be seen of Secrets: whatever lets somebody in, not hosts or user names."""
    return [value for keys in secrets.values() for key, value in keys.items() if key not in _PUBLIC]


_PUBLIC: Final = frozenset({"host", "port", "dbname", "user", "sslmode", "sslrootcert", "from", "security"})
