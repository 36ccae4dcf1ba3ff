"""The credentials of a repository, passed from its Secret to `git` and `ssh`.

These programs get them only in files: every process can see arguments, and a project can read environment variables through dbt, even
while dbt installs packages.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import is_text
from refresh_runner.repository.failures import unavailable

USERNAME: Final = "username"
PASSWORD: Final = "password"  # noqa: S105 - a key
BEARER_TOKEN: Final = "bearerToken"  # noqa: S105 - a key
CA: Final = "ca.crt"
IDENTITY: Final = "identity"
KNOWN_HOSTS: Final = "known_hosts"
_ANYBODY: Final = "git"
"""User name if only a token is given: forges ignore it."""


@dataclass(frozen=True)
class Credentials:
    """The keys of a repository's Secret."""

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secret_values(self) -> list[str]:
        """The values that must not appear in any message."""
        secret = [self.keys.get(key, "") for key in (PASSWORD, BEARER_TOKEN, IDENTITY)]
        password = secret[0]
        encoded = [quote(password, safe=""), base64.b64encode(f"{self._user}:{password}".encode()).decode()] if password else []
        return [*filter(None, secret), *encoded]

    def environment(self, url: str, workdir: Path, ca: str | None) -> dict[str, str]:
        """Return the environment variables that make git use them, and write the files that it reads. `ca` is the chart's CA bundle.

        Raise RunFailedError, which names the key, if one is missing or malformed.
        """
        for key in (USERNAME, PASSWORD, BEARER_TOKEN):
            value = self.keys.get(key, "")
            if not is_text(value) or not value.isprintable():
                raise RunFailedError(unavailable(f"the key {key} of its Secret is not one line of text", "see spec.project.git.secretRef"))
        # a redirect would bypass the addresses that the chart allows, and forward a bearer token
        settings: list[tuple[str, str, str]] = [("credential", "helper", ""), ("http", "followRedirects", "false")]
        found = {}
        if url.startswith("ssh:"):
            # packages may be downloaded by HTTPS
            found = {"GIT_SSH_COMMAND": self._ssh(workdir), "GIT_SSH_VARIANT": "ssh"}
        elif token := self.keys.get(BEARER_TOKEN):
            parts = urlsplit(url)
            settings.append((f'http "{parts.scheme}://{parts.netloc}/"', "extraHeader", f"Authorization: Bearer {token}"))
        elif password := self.keys.get(PASSWORD):
            file = _written(workdir / "credentials", self._line(url, password))
            settings.append(("credential", "helper", f"store --file={file}"))
        found["GIT_CONFIG_GLOBAL"] = str(_written(workdir / "config", "".join(_setting(*each) for each in settings)))
        if own := self.keys.get(CA):
            found["GIT_SSL_CAINFO"] = str(_written(workdir / "ca.crt", own))
        elif ca:
            found["GIT_SSL_CAINFO"] = ca
        return found

    @property
    def _user(self) -> str:
        return self.keys.get(USERNAME) or _ANYBODY

    def _line(self, url: str, password: str) -> str:
        parts = urlsplit(url)
        return f"{parts.scheme}://{quote(self._user, safe='')}:{quote(password, safe='')}@{parts.netloc}\n"

    def _ssh(self, workdir: Path) -> str:
        missing = [key for key in (IDENTITY, KNOWN_HOSTS) if not self.keys.get(key)]
        if missing:
            raise RunFailedError(
                unavailable(f"its Secret lacks {' and '.join(missing)}, which ssh requires", "see spec.project.git.secretRef")
            )
        identity = _written(workdir / "identity", self.keys[IDENTITY])
        hosts = _written(workdir / "known_hosts", self.keys[KNOWN_HOSTS])
        options = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null")
        arguments = [f"-i {identity}", f"-o UserKnownHostsFile={hosts}", *(f"-o {option}" for option in options)]
        return f"ssh -F /dev/null {' '.join(arguments)}"


def _setting(section: str, name: str, value: str) -> str:
    """Return one setting in the form of a git configuration file."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section}]\n\t{name} = "{escaped}"\n'


def _written(path: Path, text: str) -> Path:
    """Write a file that only its owner may read. It ends with a line break, without which ssh cannot read a key."""
    path.touch(mode=0o600)
    path.write_text(text if text.endswith("\n") else f"{text}\n", errors="surrogateescape")
    return path
