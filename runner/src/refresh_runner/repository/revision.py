"""The commit of a repository that a run uses, and its text form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from refresh_api.project import GitRef, short_revision

_DIGITS: Final = {"sha1": 40, "sha256": 64}
"""Number of digits in a commit's hash, by algorithm. git would interpret anything else as the name of a branch."""


@dataclass(frozen=True)
class Revision:
    """One commit, and the name from which it was resolved."""

    name: str
    """The branch or tag, or HEAD for the default branch; empty for a commit that was named by its hash."""
    commit: str

    @classmethod
    def of(cls, ref: GitRef, commit: str) -> Revision:
        """Return the revision of a ref that was resolved to this commit. A range of versions was resolved to a tag before."""
        return cls(ref.branch or ref.tag or ("" if ref.commit else "HEAD"), commit)

    @classmethod
    def parse(cls, text: str) -> Revision | None:
        """Return the revision in a text; None if the text is not one."""
        named, _, commit = text.rpartition(":")
        name, _, algorithm = named.rpartition("@")
        return cls(name, commit) if len(commit) == _DIGITS.get(algorithm) and set(commit) <= set("0123456789abcdef") else None

    def __str__(self) -> str:
        """Flux's form, such as `main@sha1:6e27e9a9…`."""
        algorithm = "sha1" if len(self.commit) == 40 else "sha256"
        return f"{self.name}@{algorithm}:{self.commit}" if self.name else f"{algorithm}:{self.commit}"

    @property
    def short(self) -> str:
        """The short form, such as `main@6e27e9a9`."""
        return short_revision(str(self))


def refspec(ref: GitRef) -> str:
    """Return what to request from the server. A range of versions was resolved to a tag before."""
    if ref.commit:
        return ref.commit
    if ref.branch:
        return f"refs/heads/{ref.branch}"
    return f"refs/tags/{ref.tag}" if ref.tag else "HEAD"
