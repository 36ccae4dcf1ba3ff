"""Which commit of a repository a run takes, and how that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from refresh_api.project import GitRef, short_revision

_DIGITS: Final = {"sha1": 40, "sha256": 64}
"""Of a commit's hash; anything else would be read by git as the name of a branch."""


@dataclass(frozen=True)
class Revision:
    """One commit, and the name by which it was found."""

    name: str
    """The branch or tag, HEAD for the default branch; empty for a commit that was named by its hash."""
    commit: str

    @classmethod
    def of(cls, ref: GitRef, commit: str) -> Revision:
        """Return the revision of a ref that was found to be this commit."""
        return cls(ref.branch or ref.tag or ("" if ref.commit else "HEAD"), commit)

    @classmethod
    def parse(cls, text: str) -> Revision | None:
        """Return the revision that was written as a text; None for any other text."""
        named, _, commit = text.rpartition(":")
        name, _, algorithm = named.rpartition("@")
        return cls(name, commit) if len(commit) == _DIGITS.get(algorithm) and set(commit) <= set("0123456789abcdef") else None

    def __str__(self) -> str:
        """As Flux writes it, such as `main@sha1:6e27e9a9…`."""
        algorithm = "sha1" if len(self.commit) == 40 else "sha256"
        return f"{self.name}@{algorithm}:{self.commit}" if self.name else f"{algorithm}:{self.commit}"

    @property
    def short(self) -> str:
        """As a person reads it, such as `main@6e27e9a9`."""
        return short_revision(str(self))


def refspec(ref: GitRef, commit: str = "") -> str:
    """Return what to ask the server for: the ref, or the commit that an earlier attempt took."""
    if commit or ref.commit:
        return commit or str(ref.commit)
    if ref.branch:
        return f"refs/heads/{ref.branch}"
    return f"refs/tags/{ref.tag}" if ref.tag else "HEAD"
